// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/logs/logstest"
	"plumbline/relay"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// scene is a bed with a relay that serves on it.
type scene struct {
	*testing.T
	bed   *testbed.Bed
	relay *stage.Relay
	ctx   context.Context
}

// play makes a bed, starts a relay with the config, and waits until it serves.
func play(t *testing.T, o testbed.Options, c stage.Config) *scene {
	t.Helper()
	s := open(t, o)
	s.start(c)
	s.wait("relay.started", 0, nil)
	return s
}

// open makes a bed whose hosts know each other's MAC addresses, so that no
// packet waits for address resolution: the kernel's queue for those is short,
// and what overflows it is lost to relays and everybody else.
func open(t *testing.T, o testbed.Options) *scene {
	t.Helper()
	s := openCold(t, o)
	if err := s.bed.Warm(s.ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// openCold makes a bed whose hosts have not heard of each other.
func openCold(t *testing.T, o testbed.Options) *scene {
	t.Helper()
	testbed.Require(t)
	testbed.BPFFS(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return &scene{T: t, bed: testbed.New(t, o), ctx: ctx}
}

// folder is the scene's own; with PLUMBLINE_KEEP one to look at afterwards.
func (s *scene) folder() string {
	s.Helper()
	keep := os.Getenv("PLUMBLINE_KEEP")
	if keep == "" {
		return s.TempDir()
	}
	dir := filepath.Join(keep, s.Name())
	if err := os.RemoveAll(dir); err != nil {
		s.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.Fatal(err)
	}
	return dir
}

// start starts a relay on the bed's relay host under a name of its own.
func (s *scene) start(c stage.Config) {
	s.Helper()
	if c.Dir == "" {
		c.Dir = s.folder()
	}
	if c.Name == "" {
		c.Name = s.bed.Name()
	}
	r, err := stage.Start(s.bed.Host("relay"), tool("relay"), c)
	if err != nil {
		s.Fatal(err)
	}
	s.relay = r
	s.Cleanup(r.Cleanup)
}

func (s *scene) wait(event string, after uint64, match func(stage.Line) bool) stage.Line {
	s.Helper()
	l, err := s.relay.Wait(event, after, match)
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// now is the seq of the newest line.
func (s *scene) now() uint64 {
	s.Helper()
	lines, err := s.relay.Lines()
	if err != nil || len(lines) == 0 {
		s.Fatalf("reading the log: %d lines, %v", len(lines), err)
	}
	return lines[len(lines)-1].Seq
}

// finish ends the relay in good order, holds its log to its promises, and asks
// analyze whether intent and kernel ever differed: they must not have.
func (s *scene) finish() []logstest.Line {
	s.Helper()
	lines := s.stop()
	if code, out := s.command("analyze", "mismatches", s.relay.LogDir); code != 0 {
		s.Errorf("analyze mismatches: exit %d\n%s", code, out)
	}
	return lines
}

// stop ends the relay in good order and holds its log to its promises.
func (s *scene) stop() []logstest.Line {
	s.Helper()
	if err := s.relay.Stop(); err != nil {
		s.Fatal(err)
	}
	return checkLog(s, s.relay.LogDir)
}

// command runs a built program on the relay's host and returns its exit code
// and output.
func (s *scene) command(name string, args ...string) (int, string) {
	s.Helper()
	return s.run(tool(name), args...)
}

// run runs any program on the relay's host.
func (s *scene) run(program string, args ...string) (int, string) {
	s.Helper()
	cmd := s.bed.Host("relay").Command(s.ctx, program, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// peer starts coturn's echoing peer.
func (s *scene) peer() {
	s.Helper()
	if err := stage.StartPeer(s.ctx, s.bed.Host("peer")); err != nil {
		s.Fatal(err)
	}
}

// coturn runs coturn's client to its end. A message that is lost fails the test.
func (s *scene) coturn(u stage.Uclient) stage.Traffic {
	s.Helper()
	return s.startCoturn(u)()
}

// startCoturn starts coturn's client; the function that it returns waits for its
// end, and fails the test where a message was lost.
func (s *scene) startCoturn(u stage.Uclient) func() stage.Traffic {
	s.Helper()
	end := s.startLossy(u)
	return func() stage.Traffic {
		s.Helper()
		got := end()
		if want := max(u.Clients, 1) * u.Messages; got.Sent != want || got.Lost != 0 {
			s.Errorf("coturn's client sent %d messages of %d and received %d\nthe hosts' kernels: %s\nthe relay: %s\n%s", got.Sent, want, got.Received, s.losses(), s.counters(), got.Output)
		}
		return got
	}
}

// counters are the newest in the log, as they are.
func (s *scene) counters() string {
	lines, err := s.relay.Lines()
	for _, l := range slices.Backward(lines) {
		if l.Event == "datapath.counters" {
			return string(l.Raw)
		}
	}
	return fmt.Sprintf("no counters in the log (%v)", err)
}

// startLossy is startCoturn for where losses are expected.
func (s *scene) startLossy(u stage.Uclient) func() stage.Traffic {
	s.Helper()
	u.Server, u.Peer = s.bed.Host("relay").Addr(), s.bed.Host("peer").Addr()
	type result struct {
		stage.Traffic
		error
	}
	ended := make(chan result, 1)
	go func() {
		got, err := u.Run(s.ctx, s.bed.Host("client"))
		ended <- result{got, err}
	}()
	return func() stage.Traffic {
		s.Helper()
		r := <-ended
		if r.error != nil {
			s.Fatal(r.error)
		}
		return r.Traffic
	}
}

// flowing waits until a datapath has relayed packets after the line given.
func (s *scene) flowing(datapath string, after uint64) stage.Line {
	s.Helper()
	return s.wait("route.decision", after, func(l stage.Line) bool {
		var e logs.RouteDecision
		return l.Decode(&e) == nil && e.Datapath == datapath && e.Verdict == "relay" && e.Packets > 0
	})
}

// pins is the relay's folder on the bpffs.
func (s *scene) pins() string { return relay.PinFolder(s.relay.Name) }

// kernel opens the relay's maps as status does.
func (s *scene) kernel() *bpf.Maps {
	s.Helper()
	m, err := bpf.OpenPinned(s.pins())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = m.Close() })
	return m
}

// activeSlot is the config that the router reads, byte for byte.
func (s *scene) activeSlot() bpf.Slot {
	s.Helper()
	m := s.kernel()
	a, err := m.ReadActive()
	if err != nil {
		s.Fatal(err)
	}
	slot, err := m.ReadSlot(a.Slot)
	if err != nil {
		s.Fatal(err)
	}
	return slot
}

func dirOf(file string) string { return filepath.Dir(file) }

// rewrite replaces a file as careful editors do: whole, by a rename.
func rewrite(t testing.TB, file, text string) {
	t.Helper()
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, file); err != nil {
		t.Fatal(err)
	}
}
