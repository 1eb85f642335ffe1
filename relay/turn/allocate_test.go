// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

func TestBinding(t *testing.T) {
	w := newWorld(t, testConfig())
	for _, addr := range []string{alicesAddress, "[2001:db8::1]:5000", "[::ffff:198.51.100.4]:40112"} {
		c := w.client(addr, "", "")
		request := c.build(stun.MethodBinding, c.newID())
		c.tuple.Client = unmap(c.tuple.Client)
		m := c.want(0, c.raw(request))
		wantTypes(t, m, stun.AttrXORMappedAddress)
		if got := addressOf(t, m, stun.AttrXORMappedAddress); got != unmap(ap(addr)) {
			t.Errorf("%s is told %s", addr, got)
		}
	}
}

func TestAllocate(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	m := c.want(0, c.allocate())
	wantTypes(t, m, stun.AttrXORRelayedAddress, stun.AttrLifetime, stun.AttrXORMappedAddress, stun.AttrMessageIntegrity)
	public := addressOf(t, m, stun.AttrXORRelayedAddress)
	if public.Addr() != ip("203.0.113.7") || public.Port() < 50000 || public.Port() > 50099 {
		t.Errorf("relayed %s", public)
	}
	if got := addressOf(t, m, stun.AttrXORMappedAddress); got != ap(alicesAddress) {
		t.Errorf("mapped %s", got)
	}
	// The datapaths know before the log says it, and both before the client.
	kinds := ""
	for _, e := range w.effects {
		kinds += fmt.Sprintf("%T ", e)
	}
	if kinds != "turn.Bind turn.Publish turn.Report turn.Send " {
		t.Errorf("effects %s", kinds)
	}
	v := w.view(t, "a-1")
	want := View{ID: "a-1", User: "alice", Tuple: c.tuple, Public: public, Guarded: ip("203.0.113.7"),
		Relayed: netip.AddrPortFrom(ip("10.0.0.5"), public.Port()), Created: start, Expires: start.Add(10 * time.Minute)}
	if v.ID != want.ID || v.User != want.User || v.Tuple != want.Tuple || v.Public != want.Public || v.Relayed != want.Relayed ||
		v.Guarded != want.Guarded || !v.Created.Equal(want.Created) || !v.Expires.Equal(want.Expires) {
		t.Errorf("view %+v, want %+v", v, want)
	}
	event := logs.AllocationCreated{Allocation: "a-1", Client: logs.Addr{AddrPort: ap(alicesAddress)}, Transport: "udp", User: "alice",
		Relayed: []logs.Addr{{AddrPort: public}}, LifetimeS: 600, Expires: logs.Time{Time: start.Add(10 * time.Minute)}}
	if got := w.events[0].(logs.AllocationCreated); fmt.Sprint(got) != fmt.Sprint(event) {
		t.Errorf("event %+v", got)
	}
}

func TestAllocateChecks(t *testing.T) {
	additional := func(family byte) stun.Setter { return familyAttr(attrAdditionalAddressFamily, family) }
	requested := func(family byte) stun.Setter { return familyAttr(stun.AttrRequestedAddressFamily, family) }
	even := func(b byte) stun.Setter { return attribute(stun.AttrEvenPort, b) }
	someToken := attribute(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)
	df := attribute(stun.AttrDontFragment)
	for _, test := range []struct {
		name  string
		code  int
		attrs []stun.Setter
	}{
		{"REQUESTED-TRANSPORT missing", 400, nil},
		{"REQUESTED-TRANSPORT malformed", 400, []stun.Setter{attribute(stun.AttrRequestedTransport, 17)}},
		{"REQUESTED-TRANSPORT TCP", 442, []stun.Setter{attribute(stun.AttrRequestedTransport, 6, 0, 0, 0)}},
		{"transport before DONT-FRAGMENT", 442, []stun.Setter{attribute(stun.AttrRequestedTransport, 6, 0, 0, 0), df}},
		{"DONT-FRAGMENT", 420, []stun.Setter{udp, df}},
		{"LIFETIME malformed", 400, []stun.Setter{udp, attribute(stun.AttrLifetime, 1)}},
		{"RESERVATION-TOKEN unknown", 508, []stun.Setter{udp, someToken}},
		{"RESERVATION-TOKEN malformed", 400, []stun.Setter{udp, attribute(stun.AttrReservationToken, 1)}},
		{"RESERVATION-TOKEN with EVEN-PORT", 400, []stun.Setter{udp, someToken, even(0)}},
		{"RESERVATION-TOKEN with REQUESTED-ADDRESS-FAMILY", 400, []stun.Setter{udp, someToken, requested(1)}},
		{"RESERVATION-TOKEN with ADDITIONAL-ADDRESS-FAMILY", 400, []stun.Setter{udp, someToken, additional(2)}},
		{"both family attributes", 400, []stun.Setter{udp, requested(1), additional(2)}},
		{"REQUESTED-ADDRESS-FAMILY IPv4", 0, []stun.Setter{udp, requested(1)}},
		{"REQUESTED-ADDRESS-FAMILY IPv6", 440, []stun.Setter{udp, requested(2)}},
		{"REQUESTED-ADDRESS-FAMILY unknown", 440, []stun.Setter{udp, requested(9)}},
		{"REQUESTED-ADDRESS-FAMILY malformed", 400, []stun.Setter{udp, attribute(stun.AttrRequestedAddressFamily, 1)}},
		{"ADDITIONAL-ADDRESS-FAMILY IPv4", 400, []stun.Setter{udp, additional(1)}},
		{"ADDITIONAL-ADDRESS-FAMILY unknown", 400, []stun.Setter{udp, additional(0)}},
		{"ADDITIONAL-ADDRESS-FAMILY with reservation", 400, []stun.Setter{udp, additional(2), even(0x80)}},
		{"ADDITIONAL-ADDRESS-FAMILY with EVEN-PORT", 0, []stun.Setter{udp, additional(2), even(0)}},
		{"EVEN-PORT malformed", 400, []stun.Setter{udp, attribute(stun.AttrEvenPort)}},
		{"known but unexpected", 0, []stun.Setter{udp, attribute(stun.AttrData, 1), numberAttr(1)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, testConfig())
			c := w.client(alicesAddress, "alice", "wonder")
			m := c.want(test.code, c.do(stun.MethodAllocate, test.attrs...))
			var list stun.UnknownAttributes
			if test.code == 420 && (list.GetFrom(m) != nil || len(list) != 1 || list[0] != stun.AttrDontFragment) {
				t.Errorf("unknown attributes %v", list)
			}
			if test.code == 0 {
				return
			}
			if len(w.bound) != 0 || w.s.Len() != 0 || len(w.s.taken) != 0 {
				t.Errorf("a refused Allocate holds on to %v", w.s.taken)
			}
			if e, ok := w.events[0].(logs.AllocationRejected); !ok || e.Code != test.code {
				t.Errorf("events %+v", w.events)
			}
		})
	}
}

func TestAdditionalAddressFamilySucceedsPartly(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	m := c.want(0, c.allocate(familyAttr(attrAdditionalAddressFamily, familyIPv6)))
	value, err := m.Get(attrAddressErrorCode)
	if err != nil || !bytes.Equal(value, append([]byte{2, 0, 4, 40}, "Address Family not Supported"...)) {
		t.Errorf("ADDRESS-ERROR-CODE %q, %v", value, err)
	}
	addressOf(t, m, stun.AttrXORRelayedAddress)
}

func TestRetransmittedAllocate(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.take(c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	request := c.build(stun.MethodAllocate, c.newID(), udp)
	first := bytes.Clone(c.want(0, c.raw(request)).Raw)
	w.now = w.now.Add(3 * time.Second)
	again := c.want(0, c.raw(request))
	if !bytes.Equal(first, again.Raw) {
		t.Errorf("the answers differ:\n%x\n%x", first, again.Raw)
	}
	if len(w.s.byID) != 1 || len(w.bound) != 1 || len(w.events) != 0 {
		t.Error("a retransmission had effects")
	}
	c.want(437, c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))

	// After the allocation's end the 5-tuple is as good as new.
	w.now = start.Add(10 * time.Minute)
	c.want(0, c.allocate())
	if w.view(t, "a-2"); w.s.Len() != 1 {
		t.Error("two allocations on one 5-tuple")
	}
}

func TestAllocateWhileItsBindIsPending(t *testing.T) {
	w := newWorld(t, testConfig())
	w.hold = true
	c := w.client(alicesAddress, "alice", "wonder")
	c.take(c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	request := c.build(stun.MethodAllocate, c.newID(), udp)
	c.want(-1, c.raw(request))
	c.want(-1, c.raw(request))
	c.want(437, c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
	c.want(437, c.refresh(600))

	// Another client's may be pending besides, and be answered first.
	d := w.client("198.51.100.4:40113", "alice", "wonder")
	d.want(-1, d.allocate())
	if len(w.waiting) != 2 || w.waiting[0] == w.waiting[1] {
		t.Fatalf("waiting for %v", w.waiting)
	}
	w.reset()
	w.answer(w.waiting[1])
	d.want(0, d.response())
	w.reset()
	w.answer(w.waiting[0])
	c.want(0, c.response())

	// An answer that nobody waits for is given back.
	w.reset()
	w.answer(ap("10.0.0.5:50001"))
	if len(w.effects) != 1 || w.effects[0] != (Release{ap("10.0.0.5:50001")}) {
		t.Errorf("effects %v", w.effects)
	}
}

func TestBindFailures(t *testing.T) {
	cfg := testConfig()
	cfg.LowestPort, cfg.HighestPort = 50000, 50003
	w := newWorld(t, cfg)
	busy := errors.New("address in use")
	w.fail = map[uint16]error{50000: busy, 50001: busy, 50003: busy}
	c := w.client(alicesAddress, "alice", "wonder")
	m := c.want(0, c.allocate())
	if port := addressOf(t, m, stun.AttrXORRelayedAddress).Port(); port != 50002 {
		t.Errorf("port %d", port)
	}
	c.want(0, c.refresh(0))
	w.fail[50002] = busy
	c.want(508, c.allocate())
	if len(w.s.taken)+len(w.s.held)+len(w.s.pending)+len(w.s.binding) != 0 {
		t.Errorf("left behind: %v %v", w.s.taken, w.s.held)
	}

	// Attempts are bounded where many ports can't be had.
	cfg = testConfig()
	w = newWorld(t, cfg)
	for port := cfg.LowestPort; port <= cfg.HighestPort; port++ {
		w.fail[port] = busy
	}
	c = w.client(alicesAddress, "alice", "wonder")
	c.want(508, c.allocate())
	binds := 0
	for _, e := range w.effects {
		if _, ok := e.(Bind); ok {
			binds++
		}
	}
	if binds != bindAttempts {
		t.Errorf("%d Binds for one request", binds)
	}
}

func TestEvenPortAndReservation(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	m := c.want(0, c.allocate(attribute(stun.AttrEvenPort, 0)))
	if port := addressOf(t, m, stun.AttrXORRelayedAddress).Port(); port%2 != 0 || m.Contains(stun.AttrReservationToken) {
		t.Errorf("port %d, %v", port, attributeTypes(m))
	}
	c.want(0, c.refresh(0))

	m = c.want(0, c.allocate(attribute(stun.AttrEvenPort, 0x80)))
	public := addressOf(t, m, stun.AttrXORRelayedAddress)
	value, err := m.Get(stun.AttrReservationToken)
	if err != nil || len(value) != 8 || public.Port()%2 != 0 {
		t.Fatalf("token %x, %v, port %d", value, err, public.Port())
	}
	odd := above(netip.AddrPortFrom(ip("10.0.0.5"), public.Port()))
	if !w.bound[odd] {
		t.Fatal("the next-higher port is not held")
	}
	claim := attribute(stun.AttrReservationToken, value...)

	// It is its user's alone, and only once; the port stays with the claimant.
	bob := w.client("198.51.100.9:1000", "bob", "builder")
	bob.want(508, bob.allocate(claim))
	second := w.client("198.51.100.4:40113", "alice", "wonder")
	m = second.want(0, second.allocate(claim))
	if got := addressOf(t, m, stun.AttrXORRelayedAddress); got != above(public) {
		t.Errorf("the token gave %s, want %s", got, above(public))
	}
	third := w.client("198.51.100.4:40114", "alice", "wonder")
	third.want(508, third.allocate(claim))
	w.now = w.now.Add(ReservationLifetime)
	w.run(w.s.Tick(w.now))
	if !w.bound[odd] {
		t.Error("a claimed port was released with its reservation")
	}
	second.want(0, second.refresh(0))
	c.want(0, c.refresh(0))
	if len(w.bound) != 0 {
		t.Errorf("still bound: %v", w.bound)
	}
}

func TestReservationExpires(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	m := c.want(0, c.allocate(attribute(stun.AttrEvenPort, 0x80)))
	value, _ := m.Get(stun.AttrReservationToken)
	value = slices.Clone(value)
	at, ok := w.s.Deadline()
	if !ok || !at.Equal(start.Add(ReservationLifetime)) {
		t.Errorf("deadline %s", at)
	}
	w.now = at.Add(-1)
	w.run(w.s.Tick(w.now))
	if len(w.bound) != 2 {
		t.Fatal("released before its time")
	}
	// Handle alone ends it as well: a late Tick changes no answer.
	w.now = at
	second := w.client("198.51.100.4:40113", "alice", "wonder")
	second.want(508, second.allocate(attribute(stun.AttrReservationToken, value...)))
	if len(w.bound) != 1 || w.s.held["alice"] != 1 {
		t.Errorf("bound %v, held %v", w.bound, w.s.held)
	}
}

func TestEvenPairNeedsBothPorts(t *testing.T) {
	cfg := testConfig()
	cfg.LowestPort, cfg.HighestPort = 50001, 50004 // only 50002 and 50003 are a pair
	w := newWorld(t, cfg)
	w.fail[50003] = errors.New("address in use")
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(508, c.allocate(attribute(stun.AttrEvenPort, 0x80)))
	if len(w.bound) != 0 || len(w.s.taken) != 0 {
		t.Errorf("bound %v, taken %v", w.bound, w.s.taken)
	}
	delete(w.fail, 50003)
	m := c.want(0, c.allocate(attribute(stun.AttrEvenPort, 0x80)))
	if port := addressOf(t, m, stun.AttrXORRelayedAddress).Port(); port != 50002 {
		t.Errorf("port %d", port)
	}
}

func TestQuotas(t *testing.T) {
	cfg := testConfig()
	cfg.PerUser, cfg.Total = 2, 3
	w := newWorld(t, cfg)
	clients := make([]*client, 5)
	for i := range clients {
		user, password := "alice", "wonder"
		if i >= 3 {
			user, password = "bob", "builder"
		}
		clients[i] = w.client(fmt.Sprintf("198.51.100.4:%d", 40000+i), user, password)
	}
	// One user on a new 5-tuple, as after a NAT change, is welcome up to the quota.
	clients[0].want(0, clients[0].allocate())
	clients[1].want(486, clients[1].allocate(attribute(stun.AttrEvenPort, 0x80)))
	clients[1].want(0, clients[1].allocate())
	clients[2].want(486, clients[2].allocate())
	clients[3].want(0, clients[3].allocate())
	clients[4].want(486, clients[4].allocate())
	clients[0].want(0, clients[0].refresh(0))
	clients[4].want(0, clients[4].allocate())

	// The token has its place in the quota already.
	cfg.PerUser, cfg.Total = 2, 2
	w = newWorld(t, cfg)
	a, b := w.client("198.51.100.4:1", "alice", "wonder"), w.client("198.51.100.4:2", "alice", "wonder")
	value, _ := a.want(0, a.allocate(attribute(stun.AttrEvenPort, 0x80))).Get(stun.AttrReservationToken)
	b.want(0, b.allocate(attribute(stun.AttrReservationToken, value...)))
}

func TestPortsRunOut(t *testing.T) {
	cfg := testConfig()
	cfg.LowestPort, cfg.HighestPort = 65533, 65535
	w := newWorld(t, cfg)
	seen := map[uint16]bool{}
	for i := range 3 {
		c := w.client(fmt.Sprintf("198.51.100.4:%d", 40000+i), "alice", "wonder")
		seen[addressOf(t, c.want(0, c.allocate()), stun.AttrXORRelayedAddress).Port()] = true
	}
	if len(seen) != 3 {
		t.Errorf("ports %v", seen)
	}
	c := w.client("198.51.100.4:50000", "alice", "wonder")
	c.want(508, c.allocate())
}

func TestWithoutIPv4(t *testing.T) {
	cfg := testConfig()
	cfg.RelayIPv4, cfg.PublicIPv4 = netip.Addr{}, netip.Addr{}
	w := newWorld(t, cfg)
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(440, c.allocate())
	c.want(440, c.allocate(familyAttr(stun.AttrRequestedAddressFamily, familyIPv4)))
	c.want(440, c.allocate(familyAttr(stun.AttrRequestedAddressFamily, familyIPv6)))
}

func TestViewByID(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(0, c.allocate())
	if v, ok := w.s.View("a-1"); !ok || v != w.view(t, "a-1") {
		t.Error("not the published View")
	}
	if _, ok := w.s.View("a-2"); ok {
		t.Error("a View of nothing")
	}
	for range w.s.Views() {
		break
	}
}
