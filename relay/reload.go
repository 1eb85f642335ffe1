// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"plumbline/logs"
	"plumbline/relay/config"
	"plumbline/relay/config/watch"
)

// reading is how a config file is read: its secret files with it, so that one
// transaction sees all of them as they were at one time.
func reading(path string) watch.Options {
	return watch.Options{Path: path, Named: config.SecretFiles, ReadNamed: config.ReadSecret}
}

// watchConfig reloads the file whenever its bytes, or those of a secret file that
// it names, differ from those last read, and on each signal, until ctx ends.
func (r *Relay) watchConfig(ctx context.Context, last watch.Update) {
	opts := reading(r.opt.ConfigFile)
	opts.Last, opts.LastNamed = last.Data, last.Named
	w := watch.Start(ctx, opts)
	if err := w.Degraded(); err != nil {
		r.log.Log(logs.Diagnostic{Level: logs.Warn, Text: "changes of the config file are found by polling only", Error: err.Error()})
	}
	for {
		select {
		case <-ctx.Done():
			w.Wait()
			return
		case u := <-w.Updates():
			r.take(u)
		case <-r.opt.Reload:
			w.Reload()
		}
	}
}

// take is one reload as a transaction: the kernel first, since it alone can
// fail, then the core and everything else. A file that is bad changes nothing,
// and so does a secret file.
func (r *Relay) take(u watch.Update) {
	r.reload.Lock()
	defer r.reload.Unlock()
	now := r.current.Load()
	source := string(u.Source)
	reject := func(line, column int, why string) {
		r.log.Log(logs.ConfigRejected{Path: r.opt.ConfigFile, Source: source, Error: why, Line: line, Column: column, KeptGeneration: now.generation})
	}
	if u.Err != nil {
		reject(0, 0, u.Err.Error())
		return
	}
	cfg, problems := config.ParseWith(r.opt.ConfigFile, u.Data, u.ReadNamed)
	if cfg == nil {
		why := problems[0].Message
		if more := len(problems) - 1; more > 0 {
			why = fmt.Sprintf("%s (and %d more: relay check %s lists them)", why, more, r.opt.ConfigFile)
		}
		reject(problems[0].Line, problems[0].Column, why)
		return
	}
	if keys := config.RestartKeys(now.Config, cfg); len(keys) > 0 {
		line, column := config.Locate(u.Data, keys[0])
		reject(line, column, "these keys take effect at a restart only, and the rest of the file waits with them: "+strings.Join(keys, ", "))
		return
	}
	next := &inForce{Config: cfg, path: now.path, generation: now.generation + 1, digest: cfg.Digest()}
	if now.refused >= next.generation {
		next.generation = now.refused + 1
	}
	r.log.Log(logs.ConfigLoaded{Generation: next.generation, Path: pathOrNil(next.path), Digest: next.digest, Source: source, Changes: config.Diff(now.Config, cfg)})
	if !r.bringIntoForce(now, next) {
		return
	}
	r.do(func() { r.execute(r.core.Reconfigure(time.Now(), coreConfig(cfg, r.addrs, r.nonce))) })
	r.account.Reconfigure(next.generation, cfg.Logs.SummaryInterval)
	if err := r.log.Reconfigure(settings(cfg)); err != nil {
		r.log.Log(logs.Diagnostic{Level: logs.Error, Text: "the log goes on with its old settings", Error: err.Error()})
	}
	r.republish()
}

// bringIntoForce is the step that may fail. A checkpoint comes before or after
// it, never between the line and what the line says.
func (r *Relay) bringIntoForce(now, next *inForce) bool {
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := r.offload.apply(next); err != nil {
		// What was rolled back keeps its number: generations are never reused.
		kept := *now
		kept.refused = next.generation
		r.current.Store(&kept)
		return false
	}
	r.current.Store(next)
	return true
}

// republish gives the offload every allocation again: after it was attached
// anew, its routes are to be installed.
func (r *Relay) republish() {
	r.do(func() {
		for v := range r.core.Views() {
			r.offload.publish(v)
		}
	})
}
