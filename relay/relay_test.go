// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumbline/logs/logstest"
	"plumbline/relay/admin"
	"plumbline/relay/probe"
)

// running is a relay in this process, on loopback, without privileges.
type running struct {
	*testing.T
	dir, config string
	port        int
	reload      chan os.Signal
	console     *console
	stop        func() error
}

type console struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// yaml is a config on a port of its own; extra goes to its end.
func (r *running) yaml(extra string) string {
	return fmt.Sprintf(`relay: {name: test}
listen: ["127.0.0.1:%d"]
auth: {users: [{name: alice, password: wonderland}]}
peers: {allow: [127.0.0.0/8]}
offload: {enabled: false}
logs: {dir: %s/logs, summary_interval: 1s}
admin: {socket: %s/relay.sock, http: ""}
%s`, r.port, r.dir, r.dir, extra)
}

func (r *running) edit(text string) {
	r.Helper()
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
}

func begin(t *testing.T) *running {
	t.Helper()
	return beginWith(t, func(r *running) string { return r.yaml("") })
}

func beginWith(t *testing.T, yaml func(*running) string) *running {
	t.Helper()
	r := &running{T: t, dir: t.TempDir(), port: freePort(t), reload: make(chan os.Signal, 1), console: &console{}}
	r.config = filepath.Join(r.dir, "relay.yaml")
	r.edit(yaml(r))
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{ConfigFile: r.config, Console: r.console, Reload: r.reload, Started: func() { close(started) }})
	}()
	var once sync.Once
	var result error
	r.stop = func() error {
		once.Do(func() { cancel(); result = <-ended })
		return result
	}
	t.Cleanup(func() { _ = r.stop() })
	select {
	case <-started:
	case err := <-ended:
		ended <- err
		t.Fatalf("the relay did not start: %v", err)
	}
	return r
}

// freePort is outside both the default relayed ports and the ephemeral ones.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
			return port
		}
	}
	t.Fatal("no free port in 20000-31999")
	return 0
}

// wait waits for a line of the log whose JSON holds every part.
func (r *running) wait(parts ...string) string {
	r.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		data, _ := os.ReadFile(filepath.Join(r.dir, "logs", "relay.log"))
	lines:
		for line := range strings.Lines(string(data)) {
			for _, p := range parts {
				if !strings.Contains(line, p) {
					continue lines
				}
			}
			return line
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.Fatalf("no line with %q; the console:\n%s", parts, r.console)
	return ""
}

func (r *running) status() Status {
	r.Helper()
	var s Status
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := admin.Ask(ctx, filepath.Join(r.dir, "relay.sock"), &s); err != nil {
		r.Fatal(err)
	}
	return s
}

// The whole way without privileges: file, relay, packets, log; and at the end
// the sums of the decisions equal the counters.
func TestProbedRelayAccountsForEveryPacket(t *testing.T) {
	r := begin(t)
	got, err := probe.Run(context.Background(), probe.Options{Server: fmt.Sprintf("127.0.0.1:%d", r.port), User: "alice", Password: "wonderland"})
	if err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	if s := r.status(); s.Datapath != "userspace" || s.Generation != 1 || s.Offload.Intended {
		t.Fatalf("status %+v", s)
	}
	if _, final := r.sumsAreExact(); final.Userspace.Relayed < 80 {
		t.Fatalf("final counters %+v", final)
	}
}

func TestReloadIsATransaction(t *testing.T) {
	r := begin(t)
	r.edit(r.yaml("allocations: {ports: 50000-50999}\n"))
	r.wait(`"event":"config.applied"`, `"generation":2`, `"lowest_port":50000`)
	r.edit(r.yaml("allocations: {ports: 50999-50000}\n"))
	line := r.wait(`"event":"config.rejected"`)
	if !strings.Contains(line, `"line":8`) || !strings.Contains(line, `"kept_generation":2`) {
		t.Fatalf("rejected as %s", line)
	}
	if s := r.status(); s.Generation != 2 || s.Intended.LowestPort != 50000 {
		t.Fatalf("a bad file changed something: %+v", s)
	}
	// The same bytes as were in force before the bad ones are news again.
	r.edit(r.yaml("allocations: {ports: 50000-50999}\n"))
	r.wait(`"event":"config.applied"`, `"generation":3`)
	r.reload <- syscall.SIGHUP
	r.wait(`"event":"config.loaded"`, `"generation":4`, `"source":"signal"`, `"changes":[]`)
}

func TestRestartKeysAreRefusedByName(t *testing.T) {
	r := begin(t)
	r.edit(strings.Replace(r.yaml(""), "name: test", "name: other", 1))
	line := r.wait(`"event":"config.rejected"`, "relay.name")
	if !strings.Contains(line, `"line":1`) {
		t.Fatalf("rejected as %s", line)
	}
}

func TestUsersChangeLive(t *testing.T) {
	r := begin(t)
	r.edit(strings.Replace(r.yaml(""), "wonderland", "looking-glass", 1))
	line := r.wait(`"event":"config.loaded"`, `"generation":2`)
	if strings.Contains(line, "looking-glass") || strings.Contains(line, "wonderland") {
		t.Fatalf("a password in the log: %s", line)
	}
	r.wait(`"event":"config.applied"`, `"generation":2`)
	server := fmt.Sprintf("127.0.0.1:%d", r.port)
	// The core takes the new config just after the line is written.
	r.status()
	if _, err := probe.Run(context.Background(), probe.Options{Server: server, User: "alice", Password: "looking-glass", Count: 3}); err != nil {
		t.Fatalf("the new password: %v", err)
	}
	if _, err := probe.Run(context.Background(), probe.Options{Server: server, User: "alice", Password: "wonderland", Count: 3}); err == nil {
		t.Fatal("the old password still works")
	}
}

func TestRequiredOffloadOnAMissingInterfaceEnds(t *testing.T) {
	dir := t.TempDir()
	r := &running{T: t, dir: dir, port: freePort(t), config: filepath.Join(dir, "relay.yaml"), console: &console{}}
	r.edit(strings.Replace(r.yaml(""), "{enabled: false}", "{required: true, interface: nosuch0}", 1))
	err := Run(context.Background(), Options{ConfigFile: r.config, Console: r.console})
	if err == nil || !strings.Contains(err.Error(), "offload.required") || !strings.Contains(err.Error(), "nosuch0") {
		t.Fatalf("error %v", err)
	}
	logstest.CheckDir(t, filepath.Join(dir, "logs"))
}

func TestMissingOffloadServesInUserSpaceAndSaysSo(t *testing.T) {
	r := begin(t)
	r.edit(strings.Replace(r.yaml(""), "{enabled: false}", "{interface: nosuch0}", 1))
	r.wait(`"event":"config.rejected"`, "offload.interface") // needs a restart
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	again := &running{T: t, dir: r.dir, port: r.port, config: r.config, console: &console{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Options{ConfigFile: r.config, Console: again.console}) }()
	again.wait(`"event":"offload.unavailable"`, `"consequence":"userspace"`, "nosuch0")
	again.wait(`"event":"relay.started"`)
	s := again.status()
	if s.Datapath != "userspace" || !s.Offload.Intended || s.Offload.Attached || s.Offload.Reason == "" {
		t.Errorf("status %+v", s)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestBadConfigStartsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "relay.yaml")
	if err := os.WriteFile(file, []byte("relay: {nmae: x}\nlisten: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Run(context.Background(), Options{ConfigFile: file, Console: &console{}})
	if err == nil || !strings.Contains(err.Error(), file+":1:") || !strings.Contains(err.Error(), file+":2:") {
		t.Fatalf("want every problem with its place, got: %v", err)
	}
}
