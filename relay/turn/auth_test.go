// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

const alicesAddress = "198.51.100.4:40112"

func attributeTypes(m *stun.Message) (types []stun.AttrType) {
	for _, a := range m.Attributes {
		types = append(types, a.Type)
	}
	return types
}

func wantTypes(t *testing.T, m *stun.Message, want ...stun.AttrType) {
	t.Helper()
	got := attributeTypes(m)
	if len(got) != len(want) {
		t.Fatalf("attributes %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("attributes %v, want %v", got, want)
		}
	}
}

func TestChallenge(t *testing.T) {
	for _, method := range []stun.Method{stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind} {
		w := newWorld(t, testConfig())
		c := w.client(alicesAddress, "alice", "wonder")
		request := c.build(method, c.newID(), udp)
		m := c.raw(request)
		c.want(401, m)
		wantTypes(t, m, stun.AttrErrorCode, stun.AttrRealm, stun.AttrNonce)
		var e stun.ErrorCodeAttribute
		if err := e.GetFrom(m); err != nil || string(e.Reason) != "Unauthenticated" {
			t.Errorf("%s: reason %q", method, e.Reason)
		}
		c.take(m)
		if c.realm != "example.org" || strings.HasPrefix(c.nonce, "obMatJos2") {
			t.Errorf("%s: realm %q, nonce %q", method, c.realm, c.nonce)
		}
		if len(m.Raw) > 4*len(request) {
			t.Errorf("%s: %d bytes answer %d", method, len(m.Raw), len(request))
		}
		if len(w.events) != 0 {
			t.Errorf("%s: the first request of every client made a log line: %v", method, w.names())
		}
	}
}

// An unknown user and a wrong password must look the same to a stranger.
func TestBadPasswordOrUnknownUser(t *testing.T) {
	var answers [][]byte
	for _, who := range [][2]string{{"alice", "wrong!"}, {"nobod", "wrong!"}, {"nobod", ""}} {
		w := newWorld(t, testConfig())
		c := w.client(alicesAddress, who[0], who[1])
		c.take(c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
		w.now = w.now.Add(time.Second)
		before := c.nonce
		m := c.want(401, c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
		wantTypes(t, m, stun.AttrErrorCode, stun.AttrRealm, stun.AttrNonce)
		c.take(m)
		if c.nonce == before {
			t.Error("the nonce is not fresh")
		}
		answers = append(answers, bytes.Clone(m.Raw))
		e, ok := w.events[0].(logs.AuthRejected)
		if !ok || e.Code != 401 || e.User != who[0] || e.Count != 1 {
			t.Errorf("event %+v", w.events)
		}
		// The nonce that came with the refusal is good for the right password.
		c.user, c.password = "alice", "wonder"
		c.want(0, c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	}
	for _, a := range answers[1:] {
		if !bytes.Equal(a, answers[0]) {
			t.Errorf("answers differ:\n%x\n%x", answers[0], a)
		}
	}
}

func TestMissingCredentials(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.take(c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	key := stun.NewLongTermIntegrity("alice", c.realm, "wonder")
	all := []stun.Setter{stun.NewUsername("alice"), stun.NewRealm(c.realm), stun.NewNonce(c.nonce)}
	for leftOut := range all {
		setters := []stun.Setter{stun.NewType(stun.MethodAllocate, stun.ClassRequest), udp}
		for i, s := range all {
			if i != leftOut {
				setters = append(setters, s)
			}
		}
		m := c.want(400, c.raw(stun.MustBuild(append(setters, key)...).Raw))
		wantTypes(t, m, stun.AttrErrorCode)
	}
}

func TestStaleNonce(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(0, c.allocate())
	old := c.nonce

	w.now = w.now.Add(10*time.Minute - time.Second)
	c.want(0, c.raw(c.build(stun.MethodRefresh, c.newID())))
	w.now = w.now.Add(time.Second)
	m := c.want(438, c.raw(c.build(stun.MethodRefresh, c.newID())))
	wantTypes(t, m, stun.AttrErrorCode, stun.AttrRealm, stun.AttrNonce)
	c.take(m)
	if c.nonce == old {
		t.Fatal("438 repeats the nonce")
	}
	c.want(0, c.raw(c.build(stun.MethodRefresh, c.newID())))

	// A nonce belongs to one transport address, and can't be made up.
	other := w.client("198.51.100.4:40113", "alice", "wonder")
	other.realm, other.nonce = c.realm, c.nonce
	other.want(438, other.raw(other.build(stun.MethodAllocate, other.newID(), udp)))
	for _, forged := range []string{"x", strings.Repeat("A", 28), c.nonce[:27], c.nonce + "A", "\n" + c.nonce, c.nonce[:27] + "\n"} {
		d := *c
		d.nonce = forged
		d.want(438, d.raw(d.build(stun.MethodRefresh, d.newID())))
	}
	// A wrong password is told before a stale nonce (RFC 8489 §9.2.4).
	d := *c
	d.nonce, d.password = "x", "wrong"
	d.want(401, d.raw(d.build(stun.MethodRefresh, d.newID())))

	// A clock that was set back leaves nonces of the future behind.
	w.now = w.now.Add(-time.Hour)
	c.want(438, c.raw(c.build(stun.MethodRefresh, c.newID())))
}

func TestUserChangesOnAnAllocation(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(0, c.allocate())
	bob := *c
	bob.user, bob.password = "bob", "builder"
	bob.want(441, bob.refresh(600))
	bob.want(441, bob.refresh(0))
	bob.want(441, bob.permit("192.0.2.1:1"))
	bob.want(441, bob.bind(0x4000, "192.0.2.1:1"))
	bob.want(437, bob.allocate())
	if v := w.view(t, "a-1"); len(v.Permissions)+len(v.Channels) != 0 || v.User != "alice" {
		t.Errorf("another user changed the allocation: %+v", v)
	}
}

func TestUnknownAttributes(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	unknown := []stun.Setter{attribute(0x7F00, 1), attribute(0x7F00, 1), attribute(0x0001, 1, 2, 3), attribute(0xFF00, 1), attribute(stun.AttrUserhash, 1)}

	// Before authentication nothing is said about them.
	c.want(401, c.raw(c.build(stun.MethodAllocate, c.newID(), append(unknown, udp)...)))
	check := func(m *stun.Message) {
		t.Helper()
		var list stun.UnknownAttributes
		if err := list.GetFrom(m); err != nil || len(list) != 2 || list[0] != 0x7F00 || list[1] != stun.AttrUserhash {
			t.Errorf("unknown attributes %v, %v", list, err)
		}
	}
	check(c.want(420, c.allocate(unknown...)))
	check(c.want(420, c.do(stun.MethodBinding, unknown...)))
	c.want(0, c.allocate())
	check(c.want(420, c.do(stun.MethodRefresh, unknown...)))
	check(c.want(420, c.do(stun.MethodCreatePermission, append(unknown, peerAttr("192.0.2.1:1"))...)))
	check(c.want(420, c.do(stun.MethodChannelBind, append(unknown, numberAttr(0x4000), peerAttr("192.0.2.1:1"))...)))
}

// What follows MESSAGE-INTEGRITY is anybody's, and must not count.
func TestAttributesAfterIntegrityAreIgnored(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(0, c.allocate())
	request := stun.New()
	if err := stun.Decode(c.build(stun.MethodRefresh, c.newID(), secondsAttr(1200)), request); err != nil {
		t.Fatal(err)
	}
	request.Add(stun.AttrLifetime, []byte{0, 0, 0, 0})
	request.Add(0x7F00, nil)
	m := c.want(0, c.raw(request.Raw))
	if lifetimeOf(t, m) != 20*time.Minute {
		t.Errorf("lifetime %s", lifetimeOf(t, m))
	}
}

// A client that got no nonce cookie may still add the SHA-256 one after the
// MESSAGE-INTEGRITY; alone it does not count until it is announced.
func TestIntegritySHA256IsNotAnnounced(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.take(c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	both := stun.New()
	if err := stun.Decode(c.build(stun.MethodAllocate, c.newID(), udp), both); err != nil {
		t.Fatal(err)
	}
	both.Add(stun.AttrMessageIntegritySHA256, make([]byte, 32))
	c.want(0, c.raw(both.Raw))
	alone := stun.MustBuild(stun.NewType(stun.MethodRefresh, stun.ClassRequest), stun.NewUsername("alice"),
		stun.NewRealm(c.realm), stun.NewNonce(c.nonce), attribute(stun.AttrMessageIntegritySHA256, make([]byte, 32)...))
	c.want(401, c.raw(alone.Raw))
}

func TestFingerprint(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	for _, asked := range []bool{false, true} {
		c.fingerprint = asked
		responses := []*stun.Message{c.do(stun.MethodBinding), c.allocate(), c.allocate(), c.refresh(0)}
		for i, m := range responses {
			if m.Contains(stun.AttrFingerprint) != asked {
				t.Errorf("asked %v: response %d has %v", asked, i, attributeTypes(m))
			}
			if asked && (stun.Fingerprint.Check(m) != nil || m.Attributes[len(m.Attributes)-1].Type != stun.AttrFingerprint) {
				t.Errorf("response %d: bad FINGERPRINT", i)
			}
		}
	}
	b := c.build(stun.MethodBinding, c.newID())
	b[len(b)-1] ^= 1
	c.want(-1, c.raw(b))
	// One that is not the last attribute is none.
	m := stun.New()
	if err := stun.Decode(c.build(stun.MethodBinding, c.newID()), m); err != nil {
		t.Fatal(err)
	}
	m.Add(stun.AttrPadding, []byte{1, 2, 3, 4})
	c.want(-1, c.raw(m.Raw))
	if n := w.s.Stats()["fingerprint_mismatch"]; n != 2 {
		t.Errorf("%d mismatches counted", n)
	}
}

// A client must discard an unsigned answer to a signed request, so that errors
// that come without MESSAGE-INTEGRITY look like silence.
func TestErrorResponsesAreSigned(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	check := func(code int, m *stun.Message) {
		t.Helper()
		c.want(code, m)
		if !m.Contains(stun.AttrMessageIntegrity) {
			t.Errorf("%d is not signed", code)
		}
	}
	check(437, c.refresh(600))
	check(400, c.do(stun.MethodAllocate))
	check(420, c.allocate(attribute(0x7F00)))
	check(440, c.allocate(familyAttr(stun.AttrRequestedAddressFamily, familyIPv6)))
	check(442, c.do(stun.MethodAllocate, attribute(stun.AttrRequestedTransport, 6, 0, 0, 0)))
	check(508, c.allocate(attribute(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)))
	check(0, c.allocate())
	check(403, c.permit("10.0.0.1:1"))
	check(443, c.permit("[2001:db8::1]:1"))
	c.user, c.password = "bob", "builder"
	check(441, c.refresh(600))
}
