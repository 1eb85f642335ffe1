// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// allocated is a world with one client that has an allocation.
func allocated(t *testing.T, cfg Config) (*world, *client) {
	t.Helper()
	w := newWorld(t, cfg)
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(0, c.allocate())
	return w, c
}

func wantNames(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := strings.Join(w.names(), " "); got != strings.Join(want, " ") {
		t.Errorf("events %s, want %s", got, strings.Join(want, " "))
	}
}

func TestLifetimeIsClamped(t *testing.T) {
	for _, test := range []struct {
		asked uint32
		want  time.Duration
	}{
		{1, 10 * time.Minute}, {599, 10 * time.Minute}, {600, 10 * time.Minute}, {601, 601 * time.Second},
		{3599, 3599 * time.Second}, {3600, time.Hour}, {3601, time.Hour}, {1 << 31, time.Hour}, {^uint32(0), time.Hour},
	} {
		w := newWorld(t, testConfig())
		c := w.client(alicesAddress, "alice", "wonder")
		m := c.want(0, c.allocate(secondsAttr(test.asked)))
		if got := lifetimeOf(t, m); got != test.want {
			t.Errorf("Allocate with %d s gets %s, want %s", test.asked, got, test.want)
		}
		w.now = w.now.Add(time.Minute)
		m = c.want(0, c.refresh(test.asked))
		if got := lifetimeOf(t, m); got != test.want || !w.view(t, "a-1").Expires.Equal(w.now.Add(test.want)) {
			t.Errorf("Refresh with %d s gets %s, want %s", test.asked, got, test.want)
		}
		wantNames(t, w, "allocation.refreshed")
	}
	// Zero asks an Allocate for nothing in particular, a Refresh for the end.
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	if got := lifetimeOf(t, c.want(0, c.allocate(secondsAttr(0)))); got != 10*time.Minute {
		t.Errorf("Allocate with 0 gets %s", got)
	}
}

func TestRefreshToZero(t *testing.T) {
	w, c := allocated(t, testConfig())
	w.now = w.now.Add(1500 * time.Millisecond)
	request := c.build(stun.MethodRefresh, c.newID(), secondsAttr(0))
	m := c.want(0, c.raw(request))
	if lifetimeOf(t, m) != 0 || len(w.views) != 0 || len(w.bound) != 0 || w.s.Len() != 0 {
		t.Error("not deleted")
	}
	e := w.events[0].(logs.AllocationDeleted)
	if e.Reason != "refreshed_to_zero" || e.AgeS != 1.5 || e.Allocation != "a-1" || e.Client.AddrPort != ap(alicesAddress) || len(e.Relayed) != 1 {
		t.Errorf("event %+v", e)
	}
	// Clients take 437 for success here; it is no news for the log.
	c.want(437, c.raw(request))
	wantNames(t, w)
	c.want(0, c.allocate())
}

func TestNoAllocation(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(437, c.refresh(600))
	wantNames(t, w, "allocation.rejected")
	c.want(437, c.permit("192.0.2.1:1"))
	c.want(437, c.bind(0x4000, "192.0.2.1:1"))
}

func TestRefreshChecks(t *testing.T) {
	w, c := allocated(t, testConfig())
	c.want(0, c.do(stun.MethodRefresh, familyAttr(stun.AttrRequestedAddressFamily, familyIPv4)))
	c.want(443, c.do(stun.MethodRefresh, familyAttr(stun.AttrRequestedAddressFamily, familyIPv6)))
	c.want(443, c.do(stun.MethodRefresh, familyAttr(stun.AttrRequestedAddressFamily, familyIPv6), secondsAttr(0)))
	c.want(400, c.do(stun.MethodRefresh, attribute(stun.AttrLifetime, 0)))
	c.want(400, c.do(stun.MethodRefresh, attribute(stun.AttrRequestedAddressFamily, 1)))
	if w.s.Len() != 1 {
		t.Error("a refused Refresh deleted")
	}
}

func TestPermissions(t *testing.T) {
	w, c := allocated(t, testConfig())
	c.want(0, c.permit("192.0.2.1:0", "192.0.2.2:5", "192.0.2.1:9"))
	wantNames(t, w, "permission.created", "permission.created")
	v := w.view(t, "a-1")
	if len(v.Permissions) != 2 || !v.Permissions[ip("192.0.2.1")].Equal(start.Add(5*time.Minute)) {
		t.Errorf("permissions %v", v.Permissions)
	}
	if len(w.view(t, "a-1").Channels) != 0 {
		t.Error("channels")
	}

	w.now = start.Add(time.Minute)
	c.want(0, c.permit("192.0.2.2:1", "192.0.2.3:1"))
	wantNames(t, w, "permission.refreshed", "permission.created")
	if len(v.Permissions) != 2 {
		t.Error("a published View changed")
	}
	// Data does not refresh: the first one ends on time, whoever used it.
	v = w.view(t, "a-1")
	end := start.Add(PermissionLifetime)
	if !v.Permits(end.Add(-1), ip("192.0.2.1")) || v.Permits(end, ip("192.0.2.1")) || !v.Permits(end, ip("192.0.2.2")) {
		t.Error("a View does not know its expiries")
	}
	w.now = end
	w.reset()
	w.run(w.s.Tick(w.now))
	wantNames(t, w, "permission.expired")
	if e := w.events[0].(logs.PermissionExpired); e.Peer != "192.0.2.1" || !e.Expires.Equal(end) {
		t.Errorf("event %+v", e)
	}
	if v := w.view(t, "a-1"); len(v.Permissions) != 2 {
		t.Errorf("permissions %v", v.Permissions)
	}
}

func TestCreatePermissionIsAllOrNothing(t *testing.T) {
	for _, test := range []struct {
		name  string
		code  int
		attrs []stun.Setter
		event string
	}{
		{"none", 400, nil, "allocation.rejected"},
		{"malformed", 400, []stun.Setter{peerAttr("192.0.2.1:1"), attribute(stun.AttrXORPeerAddress, 0, 1, 2)}, "allocation.rejected"},
		{"malformed family", 400, []stun.Setter{attribute(stun.AttrXORPeerAddress, 0, 3, 0, 0, 1, 2, 3, 4)}, "allocation.rejected"},
		{"refused last", 403, []stun.Setter{peerAttr("192.0.2.1:1"), peerAttr("10.0.0.1:1")}, "permission.denied"},
		{"refused first", 403, []stun.Setter{peerAttr("127.0.0.1:1"), peerAttr("192.0.2.1:1")}, "permission.denied"},
		{"IPv6", 443, []stun.Setter{peerAttr("192.0.2.1:1"), peerAttr("[2001:db8::1]:1")}, "permission.denied"},
		{"IPv4-mapped", 443, []stun.Setter{peerAttr("[::ffff:192.0.2.1]:1")}, "permission.denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := allocated(t, testConfig())
			c.want(test.code, c.do(stun.MethodCreatePermission, test.attrs...))
			if v := w.view(t, "a-1"); len(v.Permissions) != 0 {
				t.Errorf("installed %v", v.Permissions)
			}
			wantNames(t, w, test.event)
		})
	}
}

func TestPermissionsAreBounded(t *testing.T) {
	cfg := testConfig()
	cfg.Policy = NewPolicy([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, nil)
	w, c := allocated(t, cfg)
	for i := range maxPermissions {
		c.want(0, c.permit(fmt.Sprintf("9.9.%d.%d:1", i/256, i%256)))
	}
	c.want(508, c.permit("8.8.8.8:1"))
	c.want(508, c.bind(0x4000, "8.8.8.8:1"))
	c.want(0, c.permit("9.9.0.1:1"))
	if v := w.view(t, "a-1"); len(v.Permissions) != maxPermissions {
		t.Errorf("%d permissions", len(v.Permissions))
	}
}

func TestChannels(t *testing.T) {
	w, c := allocated(t, testConfig())
	c.want(0, c.bind(0x4000, "192.0.2.1:9000"))
	wantNames(t, w, "permission.created", "channel.bound")
	v := w.view(t, "a-1")
	if len(v.Channels) != 1 || v.Channels[0].Peer != ap("192.0.2.1:9000") || !v.Channels[0].Expires.Equal(start.Add(10*time.Minute)) ||
		!v.Permissions[ip("192.0.2.1")].Equal(start.Add(5*time.Minute)) {
		t.Fatalf("view %+v", v)
	}
	w.now = start.Add(time.Minute)
	c.want(0, c.bind(0x4000, "192.0.2.1:9000"))
	wantNames(t, w, "permission.refreshed", "channel.refreshed")
	for _, test := range []struct {
		name   string
		code   int
		number uint16
		peer   string
	}{
		{"number bound to another peer", 400, 0x4000, "192.0.2.1:9001"},
		{"peer bound to another number", 400, 0x4001, "192.0.2.1:9000"},
		{"both, and the peer is refused", 400, 0x4000, "10.0.0.1:1"},
		{"below the range", 400, 0x3FFF, "192.0.2.2:1"},
		{"above the range", 400, 0x8000, "192.0.2.2:1"},
		{"zero", 400, 0, "192.0.2.2:1"},
		{"port 0", 400, 0x4002, "192.0.2.2:0"},
		{"refused peer", 403, 0x4002, "169.254.169.254:80"},
		{"IPv6 peer", 443, 0x4002, "[2001:db8::1]:1"},
		{"IPv4-mapped peer", 443, 0x4002, "[::ffff:192.0.2.1]:1"},
		{"RFC 5766 range", 0, 0x7FFF, "192.0.2.2:1"},
		{"last of RFC 8656", 0, 0x4FFF, "192.0.2.2:2"},
	} {
		c.want(test.code, c.bind(test.number, test.peer))
		if test.code != 0 && (len(w.events) > 1 || len(w.events) == 1 && w.events[0].Name() != "channel.rejected") {
			t.Errorf("%s: events %v", test.name, w.names())
		}
	}
	c.want(400, c.do(stun.MethodChannelBind, peerAttr("192.0.2.3:1")))
	c.want(400, c.do(stun.MethodChannelBind, numberAttr(0x4100)))
	c.want(400, c.do(stun.MethodChannelBind, attribute(stun.AttrChannelNumber, 0x41, 0), peerAttr("192.0.2.3:1")))
	if v := w.view(t, "a-1"); len(v.Channels) != 3 || len(v.Permissions) != 2 {
		t.Errorf("view %+v", v)
	}
}

func TestChannelCanBeReboundAfterExpiry(t *testing.T) {
	w, c := allocated(t, testConfig())
	c.want(0, c.refresh(3600))
	c.want(0, c.bind(0x4000, "192.0.2.1:9000"))
	w.now = start.Add(PermissionLifetime)
	w.reset()
	w.run(w.s.Tick(w.now))
	wantNames(t, w, "permission.expired")
	v := w.view(t, "a-1")
	if peer, why := v.ToPeer(w.now, 0x4000); why != None || peer != ap("192.0.2.1:9000") {
		t.Errorf("a channel outlives its permission: %s %s", peer, why)
	}
	if v.Permits(w.now, ip("192.0.2.1")) {
		t.Error("permitted")
	}
	w.now = start.Add(ChannelLifetime)
	if _, why := v.ToPeer(w.now, 0x4000); why != ChannelExpired {
		t.Errorf("late Tick: %s", why)
	}
	w.reset()
	w.run(w.s.Tick(w.now))
	wantNames(t, w, "channel.expired")
	if _, why := w.view(t, "a-1").ToPeer(w.now, 0x4000); why != UnknownChannel {
		t.Errorf("after expiry: %s", why)
	}
	c.want(0, c.bind(0x4000, "192.0.2.2:9000"))
	c.want(0, c.bind(0x4001, "192.0.2.1:9000"))
	wantNames(t, w, "permission.created", "channel.bound")
}

func TestAllocationExpires(t *testing.T) {
	w, c := allocated(t, testConfig())
	c.want(0, c.permit("192.0.2.1:1"))
	end := start.Add(10 * time.Minute)
	w.now = end.Add(-1)
	w.run(w.s.Tick(w.now))
	if w.s.Len() != 1 {
		t.Fatal("too early")
	}
	if at, ok := w.s.Deadline(); !ok || !at.Equal(end) {
		t.Errorf("deadline %s", at)
	}
	if v := w.view(t, "a-1"); !v.Permits(end.Add(-1), ip("192.0.2.9")) == false {
		t.Error("permitted a stranger")
	}
	w.now = end
	w.reset()
	w.run(w.s.Tick(w.now))
	wantNames(t, w, "allocation.deleted")
	if e := w.events[0].(logs.AllocationDeleted); e.Reason != "expired" || e.AgeS != 600 {
		t.Errorf("event %+v", e)
	}
	if len(w.bound) != 0 || len(w.views) != 0 {
		t.Error("left behind")
	}
	if at, ok := w.s.Deadline(); ok {
		t.Errorf("deadline %s with nothing left", at)
	}
	c.want(437, c.refresh(600))
}

func TestSocketFailedDeleteShutdown(t *testing.T) {
	w, c := allocated(t, testConfig())
	d := w.client("198.51.100.4:40113", "alice", "wonder")
	d.want(0, d.allocate(attribute(stun.AttrEvenPort, 0x80)))
	e := w.client("198.51.100.4:40114", "alice", "wonder")
	e.want(0, e.allocate())

	w.reset()
	w.run(w.s.SocketFailed(w.now, w.view(t, "a-1").Relayed, errors.New("network is down")))
	wantNames(t, w, "diagnostic", "allocation.deleted")
	if got := w.events[1].(logs.AllocationDeleted).Reason; got != "socket_error" {
		t.Errorf("reason %s", got)
	}
	c.want(437, c.refresh(600))

	w.reset()
	w.run(w.s.Delete(w.now, "a-3", "admin"))
	w.run(w.s.Delete(w.now, "a-3", "admin"))
	w.run(w.s.Delete(w.now, "a-99", "admin"))
	wantNames(t, w, "allocation.deleted")

	w.hold = true
	f := w.client("198.51.100.4:40115", "alice", "wonder")
	f.want(-1, f.allocate())
	w.reset()
	w.run(w.s.Shutdown(w.now))
	wantNames(t, w, "allocation.deleted")
	if got := w.events[0].(logs.AllocationDeleted).Reason; got != "shutdown" {
		t.Errorf("reason %s", got)
	}
	w.answer(w.waiting[0])
	if len(w.bound) != 0 || len(w.s.taken)+len(w.s.held)+len(w.s.timers) != 0 {
		t.Errorf("left behind: %v %v", w.bound, w.s.taken)
	}
	c.want(-1, c.allocate())
}

func TestReservedSocketFails(t *testing.T) {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.want(0, c.allocate(attribute(stun.AttrEvenPort, 0x80)))
	w.run(w.s.SocketFailed(w.now, above(w.view(t, "a-1").Relayed), nil))
	if len(w.bound) != 1 || len(w.s.reservations) != 0 || w.s.Len() != 1 {
		t.Errorf("bound %v", w.bound)
	}
}
