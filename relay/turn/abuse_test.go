// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

func TestSourcesThatCannotBeAnswered(t *testing.T) {
	w := newWorld(t, testConfig())
	for _, addr := range []string{"198.51.100.4:0", "224.0.0.1:1000", "255.255.255.255:1000", "0.0.0.0:1000",
		"[ff02::1]:1000", "[::]:1000", "[::ffff:224.0.0.1]:1000", "[::ffff:255.255.255.255]:1"} {
		c := w.client(addr, "alice", "wonder")
		if m := c.raw(c.build(stun.MethodBinding, c.newID())); m != nil || len(w.effects) != 0 {
			t.Errorf("%s was answered", addr)
		}
	}
	if n := w.s.Stats()["source_invalid"]; n != 8 {
		t.Errorf("%d counted", n)
	}
}

func TestWhatIsNeverAnswered(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	binding := c.build(stun.MethodBinding, c.newID())
	withType := func(method stun.Method, class stun.MessageClass) []byte {
		m := stun.New()
		if err := m.Build(stun.NewType(method, class)); err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}
	changed := func(at int, to byte) []byte {
		b := append([]byte(nil), binding...)
		b[at] = to
		return b
	}
	for _, test := range []struct {
		reason string
		b      []byte
	}{
		{"malformed", nil},
		{"malformed", binding[:19]},
		{"malformed", append(append([]byte(nil), binding...), 0, 0, 0, 0)},
		{"malformed", changed(3, 4)},
		{"malformed", changed(4, 0)},
		{"malformed", changed(0, 0x40)},
		{"malformed", []byte{0, 1, 0, 4, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 9}},
		{"indication", withType(stun.MethodBinding, stun.ClassIndication)},
		{"indication", withType(stun.MethodSend, stun.ClassIndication)},
		{"indication", withType(stun.MethodAllocate, stun.ClassIndication)},
		{"response", withType(stun.MethodBinding, stun.ClassSuccessResponse)},
		{"response", withType(stun.MethodAllocate, stun.ClassErrorResponse)},
		{"unknown_method", withType(stun.MethodSend, stun.ClassRequest)},
		{"unknown_method", withType(stun.MethodConnect, stun.ClassRequest)},
		{"unknown_method", withType(0xABC, stun.ClassRequest)},
	} {
		before := w.s.Stats()[test.reason]
		if m := c.raw(test.b); m != nil || len(w.effects) != 0 {
			t.Errorf("%s: %x was answered", test.reason, test.b)
		}
		if w.s.Stats()[test.reason] != before+1 {
			t.Errorf("%x is not counted as %s: %v", test.b, test.reason, w.s.Stats())
		}
	}
	// Garbage leaves nothing behind that a valid request would trip over.
	c.want(0, c.do(stun.MethodBinding))
}

// A spoofed flood must find bounded memory, bounded answers and bounded lines.
func TestSpoofedFlood(t *testing.T) {
	w := newWorld(t, testConfig())
	victim := w.client("198.51.100.77:53", "", "")
	request := victim.build(stun.MethodAllocate, victim.newID(), udp)
	answers := 0
	for range 10000 {
		w.reset()
		w.run(w.s.Handle(w.now, victim.tuple, request))
		answers += len(w.sent)
	}
	if answers != 2000 {
		t.Errorf("%d answers at once to one prefix", answers)
	}
	w.now = w.now.Add(time.Second)
	answers = 0
	for range 10000 {
		w.reset()
		w.run(w.s.Handle(w.now, victim.tuple, request))
		answers += len(w.sent)
	}
	if answers != 1000 {
		t.Errorf("%d answers in a second to one prefix", answers)
	}
	if w.s.Len()+len(w.s.pending)+len(w.s.taken)+len(w.s.timers) != 0 {
		t.Error("unauthenticated packets allocated state")
	}
}

// An authenticated client is not held up by strangers of its own prefix.
func TestFloodDoesNotStarveClients(t *testing.T) {
	w, c := allocated(t, testConfig())
	stranger := w.client("198.51.100.5:53", "", "")
	request := stranger.build(stun.MethodAllocate, stranger.newID(), udp)
	for range 5000 {
		w.run(w.s.Handle(w.now, stranger.tuple, request))
	}
	c.want(0, c.refresh(600))
}

func TestRefusalLinesAreBounded(t *testing.T) {
	w := newWorld(t, testConfig())
	var lines, counted uint64
	note := func() {
		for _, e := range w.events {
			if e, ok := e.(logs.AuthRejected); ok {
				lines++
				counted += e.Count
				if e.Count > 1 && e.WindowS <= 0 {
					t.Errorf("%d refusals in no time", e.Count)
				}
			}
		}
		w.reset()
	}
	const packets = 20000
	for i := range packets {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, byte(i >> 8), byte(i), 1}), 1000)
		c := w.client(addr.String(), "mallory", "guess")
		c.realm, c.nonce = "example.org", "made up"
		w.reset()
		w.run(w.s.Handle(w.now, c.tuple, c.build(stun.MethodAllocate, c.newID(), udp)))
		note()
		if i%1000 == 0 {
			w.now = w.now.Add(100 * time.Millisecond)
			w.run(w.s.Tick(w.now))
			note()
		}
	}
	if lines > 40 { // 2 s at 10 lines a second, and the first 10 at once
		t.Errorf("%d lines for a flood of 2 s", lines)
	}
	// Nothing is lost: what was not a line of its own is in a count.
	for range 1000 {
		at, ok := w.s.Deadline()
		if !ok {
			break
		}
		if !at.After(w.now) {
			t.Fatalf("deadline %s does not move past %s", at, w.now)
		}
		w.now = at
		w.reset()
		w.run(w.s.Tick(w.now))
		note()
	}
	if _, ok := w.s.Deadline(); ok || counted != packets {
		t.Errorf("%d of %d refusals are accounted for", counted, packets)
	}
	for kind := range w.s.refused.tallies {
		if n := len(w.s.refused.tallies[kind]); n != 0 {
			t.Errorf("%d tallies left", n)
		}
	}
}

func TestRepeatedRefusalsAreOneLine(t *testing.T) {
	w, c := allocated(t, testConfig())
	c.want(403, c.permit("10.1.1.1:1"))
	wantNames(t, w, "permission.denied")
	for i := range 5 {
		w.now = w.now.Add(time.Second)
		c.want(403, c.permit(fmt.Sprintf("10.1.1.%d:1", i)))
		wantNames(t, w)
	}
	w.now = start.Add(refusalWindow)
	w.reset()
	w.run(w.s.Tick(w.now))
	e, ok := w.events[0].(logs.PermissionDenied)
	if !ok || len(w.events) != 1 || e.Count != 5 || e.WindowS != 10 || e.Peer != "10.1.1.4" || e.Rule != "built-in: private 10.0.0.0/8" || e.Code != 403 {
		t.Errorf("events %+v", w.events)
	}
	c.want(403, c.permit("10.1.1.1:1"))
	w.reset()
	w.run(w.s.Shutdown(w.now))
	if e, ok := w.events[len(w.events)-1].(logs.PermissionDenied); !ok || e.Count != 1 {
		t.Errorf("shutdown does not say what was counted: %v", w.names())
	}
}

func TestUserNamesInTheLog(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, strings.Repeat("a", 127)+"é\xff\x00\n"+strings.Repeat("b", 300), "x")
	c.take(c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	c.want(401, c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	e := w.events[0].(logs.AuthRejected)
	if len(e.User) > 140 || strings.ContainsRune(e.Message(), '\n') {
		t.Errorf("user %q, message %q", e.User, e.Message())
	}
	if _, err := json.Marshal(e); err != nil {
		t.Error(err)
	}
}

// No event may carry a secret, whatever happened.
func TestNoSecretsInEvents(t *testing.T) {
	w, c := allocated(t, testConfig())
	value, _ := func() ([]byte, error) {
		d := w.client("198.51.100.4:40113", "alice", "wonder")
		return d.want(0, d.allocate(attribute(stun.AttrEvenPort, 0x80))).Get(stun.AttrReservationToken)
	}()
	var lines strings.Builder
	note := func() {
		for _, e := range w.events {
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&lines, "%s %s %s\n", e.Name(), e.Message(), b)
		}
	}
	note()
	c.want(0, c.bind(0x4000, "192.0.2.1:1"))
	note()
	c.want(403, c.bind(0x4001, "10.0.0.1:1"))
	note()
	c.password = "guess"
	c.want(401, c.refresh(0))
	note()
	for _, secret := range []string{"wonder", "builder", "guess", c.nonce, string(value), fmt.Sprintf("%x", value)} {
		if strings.Contains(lines.String(), secret) {
			t.Errorf("%q is in the log:\n%s", secret, lines.String())
		}
	}
}
