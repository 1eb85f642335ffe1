// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/logs/logstest"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// noticedWithin is how soon the relay must have said that the kernel's config is
// not the intended one; it looks every half second.
const noticedWithin = 2 * time.Second

// spoil overwrites a value of a pinned map as anybody with root and bpftool can.
func (s *scene) spoil(name string, key uint32, value []byte) {
	s.Helper()
	args := []string{"map", "update", "pinned", s.pins() + "/" + name, "key", "hex"}
	args = append(args, hexBytes([]byte{byte(key), byte(key >> 8), byte(key >> 16), byte(key >> 24)})...)
	args = append(append(args, "value", "hex"), hexBytes(value)...)
	if code, out := s.run("bpftool", args...); code != 0 {
		s.Fatalf("bpftool %v: exit %d\n%s", args, code, out)
	}
}

func hexBytes(b []byte) []string { return strings.Fields(fmt.Sprintf("% x", b)) }

// The incident that this relay exists for: the kernel's config reads as zeros
// while packets flow. It is noticed, told with both sides, repaired and verified,
// its effect is counted, no message is lost, and one command finds it afterwards.
func TestKernelConfigBlankedUnderTraffic(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer", "bpftool")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{})
	s.peer()
	end := s.startCoturn(stage.Uclient{Clients: 4, Messages: 1000, Length: 171, Interval: 5 * time.Millisecond})
	s.flowing("kernel", 0)
	intended := s.activeSlot()
	maps := s.kernel()
	active := func() bpf.Active {
		a, err := maps.ReadActive()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	foreign := intended
	foreign[35]-- // highest port 65534: a config that looks right, with a checksum that does not fit
	for _, tc := range []struct {
		name  string
		spoil func()
		diff  []string
	}{
		{"the active slot", func() { s.spoil("config_slots", active().Slot, make([]byte, 40)) },
			[]string{"abi 1→0", "generation 1→0", "enabled true→false", "udp_checksum true→false", "lowest_port 49152→0", "highest_port 65535→0", "listen_ports [3478]→[]"}},
		{"both slots", func() {
			s.spoil("config_slots", 0, make([]byte, 40))
			s.spoil("config_slots", 1, make([]byte, 40))
		}, []string{"lowest_port 49152→0", "highest_port 65535→0"}},
		{"one port", func() { s.spoil("config_slots", active().Slot, foreign[:]) }, []string{"highest_port 65535→65534"}},
		{"magic", func() { s.spoil("config_slots", active().Slot, append([]byte{0}, intended[1:]...)) }, []string{"magic or checksum"}},
		{"slot 7", func() {
			lease := active().LeaseUntil
			v := make([]byte, 16)
			v[0] = 7
			for i := range 8 {
				v[8+i] = byte(lease >> (8 * i))
			}
			s.spoil("config_active", 0, v)
		}, []string{"slot 0→7|slot 1→7"}},
		{"lease 0", func() { s.spoil("config_active", 0, append([]byte{byte(active().Slot)}, make([]byte, 15)...)) }, []string{"lease_until"}},
	} {
		after, began := s.now(), time.Now()
		tc.spoil()
		var drift logs.ConfigDrifted
		l := s.wait("config.drifted", after, nil)
		if err := l.Decode(&drift); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, l.Time)
		if err != nil || at.Sub(began) > noticedWithin {
			t.Errorf("%s: noticed after %s (%v), want at most %s", tc.name, at.Sub(began), err, noticedWithin)
		}
		var told []string
		for _, d := range drift.Diff {
			told = append(told, fmt.Sprintf("%s %v→%v", d.Field, d.Intended, d.Kernel))
		}
		for _, want := range tc.diff {
			if !regexp.MustCompile(strings.NewReplacer("[", `\[`, "]", `\]`).Replace(want)).MatchString(strings.Join(told, "\n")) {
				t.Errorf("%s: the drift names %q, not %q", tc.name, told, want)
			}
		}
		var repair logs.ConfigRepaired
		if err := s.wait("config.repaired", l.Seq, nil).Decode(&repair); err != nil || !repair.Verified || repair.Kernel.LowestPort != 49152 || repair.Kernel.Valid != nil {
			t.Errorf("%s: repaired as %s (%v)", tc.name, asJSON(repair), err)
		}
		if got := s.activeSlot(); got != intended {
			t.Errorf("%s: after the repair the kernel holds %x, want %x", tc.name, got, intended)
		}
	}
	end()
	lines := s.stop()
	c := both(t, lines, 8000)
	if c.Kernel.Reasons["config_unset"] == 0 {
		t.Errorf("no packet was counted as config_unset: %s", asJSON(c.Kernel.Reasons))
	}
	countersAround(t, lines)

	code, out := s.command("analyze", "mismatches", s.relay.LogDir)
	if code != 2 {
		t.Errorf("analyze mismatches: exit %d, want 2", code)
	}
	if err := has(out, "config-drift", "lowest_port 49152", "lowest_port 0", "highest_port 65535", "highest_port 0", "packets", "config_unset"); err != nil {
		t.Errorf("analyze mismatches: %v", err)
	}
	// The evidence is where it says.
	cited := regexp.MustCompile(`relay\.log:(\d+) \((intended|drift|repaired)\)`).FindAllStringSubmatch(out, -1)
	events := map[string]string{"intended": "config.applied", "drift": "config.drifted", "repaired": "config.repaired"}
	if len(cited) < 3 {
		t.Errorf("analyze mismatches cites no evidence:\n%s", out)
	}
	for _, c := range cited {
		if found := lineAt(lines, c[1]); found != events[c[2]] {
			t.Errorf("%s: the line is a %q, want %s", c[0], found, events[c[2]])
		}
	}
	if code, out := s.command("analyze", "timeline", s.relay.LogDir); code != 0 || has(out, "kernel config differs", "lowest_port 49152", "lowest_port 0", "repaired and verified") != nil {
		t.Errorf("analyze timeline: exit %d\n%s", code, out)
	}
}

func lineAt(lines []logstest.Line, number string) string {
	for _, l := range lines {
		if l.File == "relay.log" && fmt.Sprint(l.Number) == number {
			return l.Event
		}
	}
	return "missing line"
}

// countersAround demands that each drift stands between two datapath.counters, so
// that what it cost can be told to the packet.
func countersAround(t *testing.T, lines []logstest.Line) {
	t.Helper()
	// Other parts of the relay log at the same time, so that lines may stand
	// between, but no time: the counters of every interval are no substitute.
	const close = 250 * time.Millisecond
	at := func(l logstest.Line) time.Time {
		when, err := time.Parse(time.RFC3339Nano, l.Time)
		must(t, err)
		return when
	}
	near := func(from, step int) (c logs.DatapathCounters, ok bool) {
		for n := from + step; n >= 0 && n < len(lines) && at(lines[n]).Sub(at(lines[from])).Abs() < close; n += step {
			if l := lines[n]; l.Event == "datapath.counters" {
				l.Decode(t, &c)
				return c, true
			}
		}
		return c, false
	}
	for i, l := range lines {
		if l.Event == "config.drifted" {
			if _, ok := near(i, -1); !ok {
				t.Errorf("%s:%d: no counters just before config.drifted", l.File, l.Number)
			}
		}
		if l.Event == "config.repaired" {
			after, ok := near(i, 1)
			if !ok {
				t.Errorf("%s:%d: no counters just after config.repaired", l.File, l.Number)
			} else if after.Kernel == nil || after.Kernel.Received == 0 {
				t.Errorf("%s:%d: the counters after the repair show no kernel side", l.File, l.Number)
			}
		}
	}
}
