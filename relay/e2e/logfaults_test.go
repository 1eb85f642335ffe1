// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A full disk costs no packet. It costs no line either, as long as memory may hold
// them; a flood of lines beyond that is accounted for.
func TestLogDiskFull(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	t.Parallel()
	testbed.Require(t)
	disk := t.TempDir()
	must(t, unix.Mount(diskName(), disk, "tmpfs", 0, "size=32m"))
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	s := play(t, testbed.Options{}, stage.Config{LogDir: filepath.Join(disk, "logs"), PerUser: 30})
	s.peer()
	c := newClient(s)
	c.allocate()
	peer := netip.AddrPortFrom(s.bed.Host("peer").Addr(), 9)
	c.bind(0x4000, peer)
	end := s.startCoturn(stage.Uclient{Clients: 2, Messages: 600, Length: 171, Interval: 10 * time.Millisecond})
	s.flowing("kernel", 0)

	// A few lines: they wait.
	full := s.now()
	free := fillDisk(t, disk)
	for range 500 {
		c.bind(0x4000, peer)
	}
	waitConsole(s, "can't be written; the relay goes on")
	free()
	s.wait("route.decision", full+1000, nil)
	lines, err := s.relay.Lines()
	must(t, err)
	for i, l := range lines {
		if l.Seq != uint64(i+1) {
			t.Fatalf("line %d has seq %d: a line was lost that memory had room for", i+1, l.Seq)
		}
	}

	// More than memory may hold, 32768 lines: each refresh of the channel is two.
	full = s.now()
	free = fillDisk(t, disk)
	c.flood(20000, 0x4000, peer)
	end()
	free()
	var e logs.Dropped
	var l stage.Line
	if l, err = s.relay.Wait("log.dropped", full, nil); err != nil {
		lines, _ := s.relay.Lines()
		t.Fatalf("seq went from %d to %d: %v", full, lines[len(lines)-1].Seq, err)
	}
	if err := l.Decode(&e); err != nil || !strings.Contains(e.Reason, "no space left on device") || e.Count == 0 {
		t.Errorf("log.dropped is %s (%v)", l.Raw, err)
	}
	// What the hole swallowed of the state follows in a checkpoint.
	s.wait("checkpoint.finished", l.Seq, nil)
	s.coturn(stage.Uclient{Clients: 2, Messages: 50, Length: 171, Interval: 10 * time.Millisecond})
	mostlyKernel(t, s.stop(), 2600)
	if code, out := s.command("analyze", "mismatches", s.relay.LogDir); code != 2 || has(out, "log-hole") != nil {
		t.Errorf("analyze mismatches: exit %d\n%s", code, out)
	}
}

// fillDisk takes all the space that is left on a disk, until free is called.
func fillDisk(t *testing.T, disk string) (free func()) {
	t.Helper()
	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	must(t, err)
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling the disk ended with %v", err)
	}
	must(t, f.Close())
	return func() { must(t, os.Remove(ballast)) }
}

// waitConsole waits for what the relay tells people while it can't log.
func waitConsole(s *scene, text string) {
	s.Helper()
	for end := time.Now().Add(30 * time.Second); !strings.Contains(s.relay.Console(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("the console does not say %q:\n%s", text, s.relay.Console())
		}
	}
}

// A relay that is killed in the middle of a line, and one that comes after it:
// every line of the folder still reads as a sentence, with stock tools.
func TestLogAfterKill(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer", "jq")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{})
	s.peer()
	end := s.startLossy(stage.Uclient{Clients: 2, Messages: 50, Length: 171, Interval: 10 * time.Millisecond})
	s.flowing("kernel", 0)
	first := s.logRun()
	must(t, s.relay.Signal(syscall.SIGKILL))
	_ = s.relay.WaitExit(20 * time.Second) // with an error: it was killed
	end()
	// As a power cut leaves it.
	live := filepath.Join(s.relay.LogDir, logs.LiveFile)
	cut := `{"time":"2026-11-24T03:22:12.120000000Z","severity":"INFO","mess`
	f, err := os.OpenFile(live, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(cut)
	must(t, err)
	must(t, f.Close())

	dead := s.relay
	s.start(stage.Config{Name: dead.Name, Dir: dirOf(dead.ConfigFile)})
	s.wait("relay.started", 0, func(l stage.Line) bool { return l.Run != first })
	s.coturn(stage.Uclient{Clients: 2, Messages: 50, Length: 171, Interval: 10 * time.Millisecond})
	must(t, s.relay.Stop())
	lines := checkLog(t, s.relay.LogDir, first)
	opened := heirOpened(t, lines, lines[len(lines)-1].Run)
	if opened.RecoveredBytes != int64(len(cut)) || opened.Previous == nil {
		t.Errorf("the heir's log.opened is %s, want %d bytes recovered", asJSON(opened), len(cut))
	}
	code, out := s.run("sh", "-c", `cat "$1"/*.log | jq -r '"\(.time) \(.severity) \(.message)"'`, "sh", s.relay.LogDir)
	if printed := strings.Count(out, "\n"); code != 0 || printed != len(lines) || strings.Contains(out, "null") {
		t.Errorf("jq: exit %d, %d lines of %d\n%s", code, printed, len(lines), out)
	}
	if code, out := s.command("analyze", "mismatches", s.relay.LogDir); code != 0 { // being killed is no lie
		t.Errorf("analyze mismatches: exit %d\n%s", code, out)
	}
}
