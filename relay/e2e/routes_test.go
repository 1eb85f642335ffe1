// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"encoding/binary"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/logs/logstest"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// keyBytes lays a route's key out as maps.h says, by other code than the relay's.
func keyBytes(k bpf.RouteKey) []byte {
	remote, local := k.Remote.Addr().As16(), k.Local.Addr().As16()
	b := append(remote[:], local[:]...)
	for _, n := range []uint16{k.Remote.Port(), k.Local.Port(), k.Channel, k.Reserved} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

func (s *scene) bpftoolRoute(verb string, key bpf.RouteKey, value ...byte) {
	s.Helper()
	args := append([]string{"map", verb, "pinned", s.pins() + "/routes", "key", "hex"}, hexBytes(keyBytes(key))...)
	if len(value) > 0 {
		args = append(append(args, "value", "hex"), hexBytes(value)...)
	}
	if code, out := s.run("bpftool", args...); code != 0 {
		s.Fatalf("bpftool %v: exit %d\n%s", args, code, out)
	}
}

func number(n uint32) []byte { return binary.LittleEndian.AppendUint32(nil, n) }

// Routes that somebody deletes, bends, expires or adds while packets flow are
// found in both directions of comparison, and repaired, and nothing is lost.
func TestRoutesSpoiledUnderTraffic(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer", "bpftool")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{})
	s.peer()
	end := s.startCoturn(stage.Uclient{Clients: 2, Messages: 900, Length: 171, Interval: 10 * time.Millisecond})
	s.flowing("kernel", 0)
	maps := s.kernel()
	// Routes with traffic are those whose flow was counted.
	busy := func(direction string) bpf.Route {
		routes, err := maps.Routes()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			if n, _, err := maps.FlowTraffic(r.Number); err == nil && n > 0 && (r.Key.Channel != 0) == (direction == "to_peer") {
				return r
			}
		}
		t.Fatalf("no route of %d carries traffic %s", len(routes), direction)
		return bpf.Route{}
	}
	for _, tc := range []struct {
		class, direction string
		spoil            func(bpf.Route) // of a route that carries traffic
	}{
		{"missing", "to_peer", func(r bpf.Route) { s.bpftoolRoute("delete", r.Key) }},
		{"missing", "to_client", func(r bpf.Route) { s.bpftoolRoute("delete", r.Key) }},
		// The number of a flow with another key: the router must not believe it.
		{"different", "to_peer", func(r bpf.Route) { s.bpftoolRoute("update", r.Key, number(busy("to_client").Number)...) }},
		{"different", "to_client", func(r bpf.Route) { s.bpftoolRoute("update", r.Key, number(0)...) }},
		{"stale", "to_peer", func(r bpf.Route) {
			f, err := maps.ReadFlow(r.Number)
			if err != nil {
				t.Fatal(err)
			}
			s.spoil("flows", r.Number, s.flowBytes(f, 1))
		}},
		{"unexpected", "", func(r bpf.Route) {
			key := r.Key
			key.Channel ^= 1
			s.bpftoolRoute("update", key, number(r.Number)...)
		}},
		// Bytes that the router never asks for are there all the same.
		{"unexpected", "", func(r bpf.Route) {
			key := r.Key
			key.Reserved = 0xabcd
			s.bpftoolRoute("update", key, number(r.Number)...)
		}},
	} {
		after := s.now()
		tc.spoil(busy(cmp.Or(tc.direction, "to_peer")))
		var drift logs.RouteDrifted
		l := s.wait("route.drifted", after, nil)
		if err := l.Decode(&drift); err != nil || drift.Class != tc.class || tc.direction != "" && drift.Direction != tc.direction || len(drift.Diff) == 0 {
			t.Errorf("%s %s: drifted as %s (%v)", tc.class, tc.direction, l.Raw, err)
		}
		if (drift.Intended == nil) != (tc.class == "unexpected") || (drift.Kernel == nil) != (tc.class == "missing") {
			t.Errorf("%s %s: the sides are wrong: %s", tc.class, tc.direction, l.Raw)
		}
		var repair logs.RouteRepaired
		if err := s.wait("route.repaired", l.Seq, nil).Decode(&repair); err != nil || repair.Class != tc.class || !repair.Verified {
			t.Errorf("%s %s: repaired as %s (%v)", tc.class, tc.direction, asJSON(repair), err)
		}
	}
	if code, out := s.command("relay", "status", "--config", s.relay.ConfigFile); code != 0 {
		t.Errorf("relay status after the repairs: exit %d\n%s", code, out)
	}
	end()
	lines := s.stop()
	both(t, lines, 3600)
	drifts := len(named(lines, "route.drifted"))
	if repairs := len(named(lines, "route.repaired")); drifts != 7 || repairs != 7 {
		t.Errorf("%d drifts and %d repairs, want 7 of each:\n%s", drifts, repairs, messages(named(lines, "route.drifted")))
	}
	if code, out := s.command("analyze", "mismatches", s.relay.LogDir); code != 2 || has(out, "route-drift") != nil {
		t.Errorf("analyze mismatches: exit %d\n%s", code, out)
	}
}

// flowBytes lays a flow out as maps.h says, with another expiry.
func (s *scene) flowBytes(f bpf.Flow, expiry uint64) []byte {
	s.Helper()
	b := keyBytes(f.Key)
	source, destination := f.Source.Addr().As16(), f.Destination.Addr().As16()
	b = append(append(b, source[:]...), destination[:]...)
	for _, n := range []uint16{f.Source.Port(), f.Destination.Port(), f.Channel} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	b = binary.LittleEndian.AppendUint16(b, f.MTU)
	b = binary.LittleEndian.AppendUint32(b, f.Ifindex)
	b = append(append(b, f.DstMAC[:]...), f.SrcMAC[:]...)
	b = binary.LittleEndian.AppendUint64(b, expiry)
	return append(b, make([]byte, 112-len(b))...)
}

func messages(lines []logstest.Line) string {
	text := ""
	for _, l := range lines {
		text += l.Severity + " " + l.Message + "\n"
	}
	return text
}
