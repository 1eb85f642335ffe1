// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"os"
	"syscall"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/logs/logstest"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// status is what `relay status --json` says, as its readers see it.
type status struct {
	Verdict    string
	Source     string
	Generation uint32
	Datapath   string
	PID        int
	Intended   map[string]any
	Kernel     *struct {
		Generation uint32
		LowestPort uint16 `json:"lowest_port"`
		LeaseMS    int64  `json:"lease_ms"`
		Attached   bool
		Relayed    uint64
	}
	Diff        []logs.Difference
	Allocations *int
	Routes      struct{ Intended, Kernel *int }
}

// status asks twice: for people and for programs, which must agree.
func (s *scene) status(exit int) status {
	s.Helper()
	code, text := s.command("relay", "status", "--config", s.relay.ConfigFile)
	again, out := s.command("relay", "status", "--json", "--config", s.relay.ConfigFile)
	if code != exit || again != exit {
		s.Errorf("relay status: exit %d, with --json %d, want %d\n%s%s", code, again, exit, text, out)
	}
	var st status
	if exit != 1 {
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			s.Errorf("relay status --json: %v\n%s", err, out)
		}
	}
	return st
}

// What the kernel holds can be seen while the relay runs, hangs and is dead, and
// a relay that comes after a dead one starts above its generation and leaves
// nothing of it.
func TestStatusFromPins(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer", "bpftool", "ip")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{})
	s.peer()
	end := s.startCoturn(stage.Uclient{Clients: 2, Messages: 100, Length: 171, Interval: 10 * time.Millisecond})
	s.flowing("kernel", 0)

	st := s.status(0)
	if st.Verdict != "same" || st.Source != "socket" || st.Generation != 1 || st.PID != s.relay.PID() || st.Datapath != "kernel" ||
		st.Kernel == nil || !st.Kernel.Attached || st.Kernel.Relayed == 0 || st.Allocations == nil || *st.Allocations == 0 ||
		st.Routes.Kernel == nil || *st.Routes.Kernel == 0 || *st.Routes.Kernel != *st.Routes.Intended {
		t.Errorf("running: %s", asJSON(st))
	}
	end()

	// It hangs: the kernel goes on, within the lease.
	if err := s.relay.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	st = s.status(0)
	if st.Verdict != "same" || st.Source != "log" || st.Generation != 1 || st.Allocations != nil || st.Kernel == nil || st.Kernel.LowestPort != 49152 || st.Kernel.LeaseMS <= 0 {
		t.Errorf("hanging: %s", asJSON(st))
	}
	good := s.activeSlot()
	a, err := s.kernel().ReadActive()
	if err != nil {
		t.Fatal(err)
	}
	s.spoil("config_slots", a.Slot, make([]byte, 40))
	st = s.status(2)
	fields := map[string]bool{}
	for _, d := range st.Diff {
		fields[d.Field] = true
	}
	if st.Verdict != "differs" || st.Datapath != "userspace" || !fields["lowest_port"] || !fields["highest_port"] || !fields["udp_checksum"] {
		t.Errorf("blanked while hanging: %s", asJSON(st))
	}
	s.spoil("config_slots", a.Slot, good[:])
	if err := s.relay.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = s.relay.WaitExit(20 * time.Second) // with an error: it was killed
	st = s.status(0)
	if st.Source != "log" || st.Kernel == nil || !st.Kernel.Attached || st.Routes.Kernel == nil {
		t.Errorf("killed: %s", asJSON(st))
	}

	// Its heir.
	first := s.logRun()
	dead := s.relay
	s.start(stage.Config{Name: dead.Name, Dir: dirOf(dead.ConfigFile)})
	started := s.wait("relay.started", 0, func(l stage.Line) bool { return l.Run != first })
	st = s.status(0)
	if st.Verdict != "same" || st.Generation != 2 || st.Kernel == nil || st.Kernel.Generation != 2 || *st.Allocations != 0 || *st.Routes.Kernel != 0 {
		t.Errorf("restarted: %s", asJSON(st))
	}
	if err := s.relay.Stop(); err != nil {
		t.Fatal(err)
	}
	lines := checkLog(t, s.relay.LogDir, first)
	if opened := heirOpened(t, lines, started.Run); opened.Previous == nil {
		t.Errorf("the heir's log does not name the file before it: %s", asJSON(opened))
	}
	if _, err := os.Stat(s.pins()); !os.IsNotExist(err) {
		t.Errorf("pins are left in %s: %v", s.pins(), err)
	}
	s.status(1) // neither pins nor a socket
	if code, out := s.run("ip", "-d", "link", "show", "eth0"); code != 0 || has(out, "xdp") == nil {
		t.Errorf("a program is left on eth0: %s", out)
	}
}

// logRun is the run of the newest line.
func (s *scene) logRun() string {
	s.Helper()
	lines, err := s.relay.Lines()
	if err != nil || len(lines) == 0 {
		s.Fatalf("reading the log: %d lines, %v", len(lines), err)
	}
	return lines[len(lines)-1].Run
}

func heirOpened(t *testing.T, lines []logstest.Line, run string) logs.Opened {
	t.Helper()
	for _, l := range lines {
		if l.Run == run {
			var e logs.Opened
			l.Decode(t, &e)
			return e
		}
	}
	t.Fatalf("run %s is not in the log", run)
	return logs.Opened{}
}
