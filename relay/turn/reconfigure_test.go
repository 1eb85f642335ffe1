// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

func TestReconfigure(t *testing.T) {
	w, c := allocated(t, testConfig())
	bob := w.client("198.51.100.9:1000", "bob", "builder")
	bob.want(0, bob.allocate())
	public := w.view(t, "a-1").Public

	cfg := testConfig()
	cfg.Realm = "new.example.org"
	cfg.LowestPort, cfg.HighestPort = 60000, 60009
	cfg.MaxLifetime, cfg.DefaultLifetime = 20*time.Minute, 5*time.Minute
	delete(cfg.Users, "bob")
	w.reset()
	w.run(w.s.Reconfigure(w.now, cfg))
	if len(w.effects) != 0 {
		t.Errorf("effects %v", w.effects)
	}

	// Its realm stays the allocation's, its port and what was granted too.
	if got := lifetimeOf(t, c.want(0, c.refresh(3600))); got != 20*time.Minute {
		t.Errorf("refreshed for %s", got)
	}
	if c.realm != "example.org" || w.view(t, "a-1").Public != public {
		t.Errorf("realm %s", c.realm)
	}
	if v := w.view(t, "a-2"); !v.Expires.Equal(start.Add(10 * time.Minute)) {
		t.Errorf("bob's lifetime changed: %s", v.Expires)
	}
	bob.want(401, bob.refresh(600))
	d := w.client("198.51.100.4:40113", "alice", "wonder")
	m := d.want(0, d.allocate())
	if port := addressOf(t, m, stun.AttrXORRelayedAddress).Port(); port < 60000 || d.realm != "new.example.org" {
		t.Errorf("port %d, realm %s", port, d.realm)
	}

	// Another key makes nonces stale, no more.
	cfg.NonceKey = [32]byte{9}
	w.run(w.s.Reconfigure(w.now, cfg))
	c.want(438, c.raw(c.build(stun.MethodRefresh, c.newID())))
	c.want(0, c.refresh(600))
}

func TestHairpin(t *testing.T) {
	w, c := allocated(t, testConfig())
	d := w.client("198.51.100.9:1000", "bob", "builder")
	d.want(0, d.allocate())
	target := w.view(t, "a-2").Public

	// The address may be permitted, its local form and others of ours may not.
	c.want(0, c.permit("203.0.113.7:1"))
	c.want(403, c.permit("10.0.0.5:1"))
	v := w.view(t, "a-1")
	if !v.OnlyRelayed(ip("203.0.113.7")) || v.OnlyRelayed(ip("192.0.2.1")) {
		t.Error("Guarded is wrong")
	}
	// A channel must hit the port of a live allocation.
	c.want(403, c.bind(0x4000, "203.0.113.7:3478"))
	c.want(403, c.bind(0x4000, "203.0.113.7:22"))
	c.want(0, c.bind(0x4000, target.String()))
	c.want(0, c.bind(0x4001, "192.0.2.1:1"))

	// The channel is its client's until it expires, also when the target ends
	// before; what is sent on it then meets no allocation.
	w.now = w.now.Add(time.Second)
	d.want(0, d.refresh(0))
	wantNames(t, w, "allocation.deleted")
	if v := w.view(t, "a-1"); len(v.Channels) != 2 || len(v.Permissions) != 2 {
		t.Errorf("view %+v", v)
	}
	c.want(403, c.bind(0x4000, target.String()))
	c.want(400, c.bind(0x4000, "192.0.2.2:1")) // the number is taken
	// To itself is allowed, and ends with itself.
	c.want(0, c.bind(0x4002, w.view(t, "a-1").Public.String()))
	c.want(0, c.refresh(0))
	wantNames(t, w, "allocation.deleted")
}

// Where the operator opens the relay's own address, as on loopback, every port
// of it is a peer's; where the operator denies it, none.
func TestHairpinByTheOperatorsRules(t *testing.T) {
	cfg := testConfig()
	cfg.RelayIPv4, cfg.PublicIPv4, cfg.OwnAddresses = ip("127.0.0.1"), netip.Addr{}, []netip.Addr{ip("127.0.0.1")}
	cfg.Policy = NewPolicy([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, nil)
	w, c := allocated(t, cfg)
	if v := w.view(t, "a-1"); v.Guarded.IsValid() {
		t.Errorf("guarded %s", v.Guarded)
	}
	c.want(0, c.permit("127.0.0.1:9"))
	c.want(0, c.bind(0x4000, "127.0.0.1:9"))

	// Without the rule the address stays a peer, but only relayed ports of it.
	c.want(0, c.bind(0x4001, w.view(t, "a-1").Public.String()))
	guarded := cfg
	guarded.Policy = nil
	w.reset()
	w.run(w.s.Reconfigure(w.now, guarded))
	wantNames(t, w, "channel.expired")
	if v := w.view(t, "a-1"); v.Guarded != ip("127.0.0.1") || len(v.Permissions) != 1 || len(v.Channels) != 1 || v.Channels[0].Number != 0x4001 {
		t.Errorf("the View does not follow the config: %+v", v)
	}
	c.want(403, c.bind(0x4000, "127.0.0.1:9"))

	denied := cfg
	denied.Policy = NewPolicy(nil, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")})
	w.reset()
	w.run(w.s.Reconfigure(w.now, denied))
	wantNames(t, w, "permission.denied", "channel.expired", "permission.expired")
	c.want(403, c.permit("127.0.0.1:9"))
	c.want(403, c.bind(0x4000, "127.0.0.1:9"))
}

func TestReconfigureCutsOffRefusedPeers(t *testing.T) {
	w, c := allocated(t, testConfig())
	c.want(0, c.bind(0x4000, "192.0.2.1:1"))
	c.want(0, c.bind(0x4001, "192.0.2.2:1"))
	cfg := testConfig()
	cfg.Policy = NewPolicy(prefixes("192.0.2.0/24"), prefixes("192.0.2.1/32"))
	w.now = w.now.Add(time.Second)
	w.reset()
	w.run(w.s.Reconfigure(w.now, cfg))
	wantNames(t, w, "permission.denied", "channel.expired", "permission.expired")
	if _, ok := w.effects[0].(Publish); !ok {
		t.Errorf("first %T: the log speaks of what is not in force", w.effects[0])
	}
	if e := w.events[0].(logs.PermissionDenied); e.Rule != "peers.deny 192.0.2.1/32" {
		t.Errorf("event %+v", e)
	}
	if v := w.view(t, "a-1"); len(v.Channels) != 1 || len(v.Permissions) != 1 || !v.Permits(w.now, ip("192.0.2.2")) {
		t.Errorf("view %+v", v)
	}
	c.want(403, c.bind(0x4000, "192.0.2.1:1"))
	w.reset()
	w.run(w.s.Reconfigure(w.now, cfg))
	wantNames(t, w)
}
