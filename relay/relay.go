// SPDX-License-Identifier: Apache-2.0

// Package relay composes Plumbline: it is where a config file, a packet and a
// log line enter and leave.
//
//   - config file → reload.go → kernel (offload.go) → core and user space
//   - control datagram → datapath → control.go → core → effects
//   - data packet → router in the kernel, or datapath; neither waits for the core
//   - kernel and user-space counters → account → log
//
// One goroutine owns the core (control.go). Another watches the kernel
// (watch.go). Whatever is said of the kernel was read from it.
package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"plumbline/logs"
	"plumbline/relay/account"
	"plumbline/relay/admin"
	"plumbline/relay/config"
	"plumbline/relay/config/watch"
	"plumbline/relay/datapath"
	"plumbline/relay/turn"
)

// socketQueue is how many bytes may wait in a socket while this process does not
// run: some 5,000 short datagrams. The kernel's default of 208 KiB holds 270, a
// second of a few clients on a busy machine. It is a bound, not an allocation,
// and net.ipv4.udp_mem bounds all sockets together.
const socketQueue = 4 << 20

// Options are what `relay run` was asked for.
type Options struct {
	// ConfigFile is the watched file; "" runs the embedded default.
	ConfigFile string
	// Console is where people read: the banner and, with logs.console, the
	// events.
	Console io.Writer
	// Reload asks for a reload as SIGHUP does; nil: never.
	Reload <-chan os.Signal
	// Started is called when the relay serves; nil: nobody waits for it.
	Started func()
}

// Relay is one running instance.
type Relay struct {
	opt     Options
	run     string
	began   time.Time
	log     *logs.Writer
	current atomic.Pointer[inForce]
	addrs   addresses
	nonce   [32]byte

	core        *turn.Server // owned by serveCore
	serving     bool         // serveCore was begun, and will close coreEnded
	inbox       chan message
	commands    chan func()
	coreEnded   chan struct{}
	checkpoint  checkpointing
	checkpoints chan string

	plane   *datapath.Datapath
	offload *offload
	account *account.Account

	reload   sync.Mutex // one transaction at a time
	changing sync.Mutex // held from the line that says what is in force until current does
}

// inForce is the config that the relay works by.
type inForce struct {
	*config.Config
	path       string // "" for the embedded default
	generation uint32
	digest     string
	refused    uint32 // the last generation that was rolled back, 0: none
}

// Run serves until ctx ends, then ends in good order: sums and log.closed are
// written. It returns an error where the relay could not start.
func Run(ctx context.Context, opt Options) error {
	cfg, read, err := initialConfig(opt.ConfigFile)
	if err != nil {
		return err
	}
	r := &Relay{
		opt: opt, began: time.Now(), run: logs.NewRun(time.Now()),
		inbox: make(chan message, inboxSize), commands: make(chan func()), checkpoints: make(chan string), coreEnded: make(chan struct{}),
	}
	if _, err := rand.Read(r.nonce[:]); err != nil {
		return fmt.Errorf("reading randomness for nonces: %w", err)
	}
	if r.addrs, err = findAddresses(cfg); err != nil {
		return err
	}
	if r.log, err = logs.NewWriter(logs.WriterOptions{
		Settings: settings(cfg), Dir: cfg.Logs.Dir, Relay: cfg.Relay.Name, Run: r.run, Version: Version,
		ConsoleOut: opt.Console, OnCheckpoint: r.wantCheckpoint,
	}); err != nil {
		return err
	}
	defer func() { _ = r.log.Close("shutdown") }()
	if err := r.serve(ctx, cfg, read); err != nil {
		if !r.serving {
			close(r.coreEnded) // it never began; nobody may wait for it
		}
		r.log.Log(logs.Diagnostic{Level: logs.Error, Text: "the relay ends", Error: err.Error()})
		return err
	}
	return nil
}

// serve starts every part in the order in which they need each other, and ends
// them in the reverse one.
func (r *Relay) serve(ctx context.Context, cfg *config.Config, read watch.Update) error {
	plane, err := datapath.New(datapath.Options{Listen: cfg.Listen, Control: r.receive, ReadBuffer: socketQueue})
	if err != nil {
		return err
	}
	r.plane = plane
	defer func() { _ = plane.Close() }()

	r.account = account.New(account.Options{Sink: r.log, Userspace: plane, Interval: cfg.Logs.SummaryInterval})
	r.offload = newOffload(r.log, r.account)
	defer r.offload.close()

	adopted, err := r.offload.adopt(cfg)
	if err != nil {
		return err
	}
	first := &inForce{Config: cfg, path: r.opt.ConfigFile, generation: adopted + 1, digest: cfg.Digest()}
	r.current.Store(first)
	r.account.Reconfigure(first.generation, cfg.Logs.SummaryInterval)
	r.log.Log(logs.ConfigLoaded{Generation: first.generation, Path: pathOrNil(first.path), Digest: first.digest, Source: "start", Changes: []logs.Change{}})
	if err := r.offload.apply(first); err != nil {
		return err
	}

	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return fmt.Errorf("reading randomness for the core: %w", err)
	}
	r.core = turn.New(coreConfig(cfg, r.addrs, r.nonce), seed)

	endpoints, err := admin.Start(admin.Options{Socket: cfg.Admin.Socket, HTTP: cfg.Admin.HTTP,
		Status: func() any { return r.status() }, Live: r.live, Ready: r.ready})
	if err != nil {
		return err
	}
	defer endpoints.Stop()

	coreCtx, stopCore := context.WithCancel(context.Background())
	defer stopCore()
	r.serving = true
	go r.serveCore(coreCtx)
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var reading, tasks sync.WaitGroup
	reading.Go(func() {
		// It returns when stop closes the plane; its sums are asked after that.
		if err := plane.Serve(context.Background()); err != nil {
			r.log.Log(logs.Diagnostic{Level: logs.Error, Text: "the user-space datapath ended", Error: err.Error()})
		}
	})
	tasks.Go(func() { r.offload.watch(background) })
	tasks.Go(func() { r.account.Serve(background) })
	if r.opt.ConfigFile != "" {
		tasks.Go(func() { r.watchConfig(background, read) })
	}

	r.sayStarted(first)
	<-ctx.Done()
	r.stop(func() {
		// Whoever could attach the router again ends before it is taken off: a
		// reload that is under way, and the watcher.
		stopBackground()
		tasks.Wait()
		stopCore()
	})
	reading.Wait()
	r.account.Final()
	r.log.Log(logs.Stopped{Reason: "signal", UptimeS: time.Since(r.began).Seconds()})
	return nil
}

// stop ends the allocations and takes the router off its device. Afterwards
// neither datapath can count another packet.
func (r *Relay) stop(end func()) {
	held := 0
	r.do(func() { held = r.core.Len() })
	r.log.Log(logs.Stopping{Reason: "signal", Allocations: held, UptimeS: time.Since(r.began).Seconds()})
	end()
	<-r.coreEnded
	r.offload.detach("shutdown")
	_ = r.plane.Close() // never fails
}

// initialConfig is the validated config to start with, and what it was read from.
// All problems of a file come in one error.
func initialConfig(path string) (*config.Config, watch.Update, error) {
	var none watch.Update
	if path == "" {
		dir, err := config.StateDir()
		if err != nil {
			return nil, none, err
		}
		user, _, err := config.Credential(dir)
		if err != nil {
			return nil, none, err
		}
		return config.Default(dir, user), none, nil
	}
	read := watch.Once(reading(path))
	if read.Err != nil {
		return nil, none, read.Err
	}
	cfg, problems := config.ParseWith(path, read.Data, read.ReadNamed)
	if cfg == nil {
		all := []error{fmt.Errorf("the config is refused and nothing was started, problems: %d", len(problems))}
		for _, p := range problems {
			all = append(all, p)
		}
		return nil, none, errors.Join(all...)
	}
	return cfg, read, nil
}

// settings are the config's part for the log writer.
func settings(cfg *config.Config) logs.Settings {
	severity, _ := logs.ParseSeverity(cfg.Logs.Severity) // validated
	return logs.Settings{
		Severity: severity, MaxSize: cfg.Logs.MaxSize, MaxAge: cfg.Logs.MaxAge, Keep: cfg.Logs.Keep,
		Compress: cfg.Logs.Compress, Console: cfg.Logs.Console,
	}
}

func pathOrNil(path string) *string {
	if path == "" {
		return nil
	}
	return &path
}
