// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"pgregory.net/rapid"
)

// propertyConfig is small, so that everything collides.
func propertyConfig() Config {
	cfg := testConfig()
	cfg.LowestPort, cfg.HighestPort = 50001, 50008
	cfg.PerUser, cfg.Total = 3, 5
	return cfg
}

var peerPool = []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.3:7", "10.0.0.1:1", "[2001:db8::1]:1", "203.0.113.7:22"}

// Random requests of several clients, with a clock that jumps, against a model:
// each answer's code, what is published, what is bound, and what the log says.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, propertyConfig())
		m := &model{now: w.now, cfg: propertyConfig(), fail: w.fail}
		replayed := replay{}
		var clients []*client
		for i, user := range []string{"alice", "alice", "alice", "bob", "bob"} {
			password := map[string]string{"alice": "wonder", "bob": "builder"}[user]
			addr := netip.AddrPortFrom(ip("198.51.100.4"), uint16(40000+i))
			clients = append(clients, w.client(addr.String(), user, password))
		}
		tokens := []string{"unknown!"}
		someClient := rapid.SampledFrom(clients)
		somePeer := rapid.Custom(func(t *rapid.T) netip.AddrPort {
			if i := rapid.IntRange(0, len(peerPool)).Draw(t, "peer"); i < len(peerPool) {
				return ap(peerPool[i])
			}
			return netip.AddrPortFrom(m.cfg.PublicIPv4, rapid.Uint16Range(50001, 50008).Draw(t, "port"))
		})
		someNumber := rapid.SampledFrom([]uint16{0x3FFF, 0x4000, 0x4001, 0x4002, 0x7FFF, 0x8000})
		someLifetime := rapid.SampledFrom([]uint32{0, 1, 600, 700, 1800, 3600, 1 << 31})
		settle := func() {
			for _, e := range w.events {
				if err := replayed.take(e); err != nil {
					t.Fatal(err)
				}
			}
			w.reset()
		}
		// do sends one request until it is not challenged any more; every
		// attempt's events count.
		do := func(c *client, method stun.Method, attrs ...stun.Setter) *stun.Message {
			for range 3 {
				response := c.raw(c.build(method, c.newID(), attrs...))
				settle()
				if code := codeOf(response); response == nil || code != 438 && (code != 401 || c.nonce != "") {
					return response
				}
				c.take(response)
			}
			t.Fatalf("challenged again and again")
			return nil
		}
		// A removed user has no way to learn a nonce but by being refused.
		final := func(want int, response *stun.Message) bool {
			if got := codeOf(response); got != want {
				t.Fatalf("answered %d, want %d", got, want)
			}
			return want == 0
		}
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(t *rapid.T) {
				d := rapid.SampledFrom([]time.Duration{1, time.Second, 29 * time.Second, 30 * time.Second, time.Minute,
					PermissionLifetime - 1, PermissionLifetime, ChannelLifetime, time.Hour}).Draw(t, "by")
				w.now = w.now.Add(d)
				m.now = w.now
			},
			"until the deadline": func(t *rapid.T) {
				if at, ok := w.s.Deadline(); ok && at.After(w.now) {
					w.now, m.now = at, at
				}
				w.run(w.s.Tick(w.now))
				settle()
			},
			"allocate": func(t *rapid.T) {
				c := someClient.Draw(t, "client")
				want := rapid.SampledFrom([]pair{anyPort, anyPort, evenPort, evenPair}).Draw(t, "want")
				lifetime := someLifetime.Draw(t, "lifetime")
				token := ""
				attrs := []stun.Setter{udp, secondsAttr(lifetime)}
				switch {
				case rapid.IntRange(0, 3).Draw(t, "by token") == 0:
					token = rapid.SampledFrom(tokens).Draw(t, "token")
					attrs = append(attrs, attribute(stun.AttrReservationToken, []byte(token)...))
					want = anyPort
				case want == evenPort:
					attrs = append(attrs, attribute(stun.AttrEvenPort, 0))
				case want == evenPair:
					attrs = append(attrs, attribute(stun.AttrEvenPort, 0x80))
				}
				code, ports := m.allocate(c.tuple, c.user, want, token)
				response := do(c, stun.MethodAllocate, attrs...)
				if !final(code, response) {
					return
				}
				var relayed stun.XORMappedAddress
				if err := relayed.GetFromAs(response, stun.AttrXORRelayedAddress); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(ports, uint16(relayed.Port)) {
					t.Fatalf("got port %d, want one of %v", relayed.Port, ports)
				}
				fresh, err := response.Get(stun.AttrReservationToken)
				if (err == nil) != (want == evenPair) {
					t.Fatalf("token %x", fresh)
				}
				if err == nil {
					tokens = append(tokens, string(fresh))
				}
				value, err := response.Get(stun.AttrLifetime)
				if err != nil || time.Duration(binary.BigEndian.Uint32(value))*time.Second != modelLifetime(lifetime) {
					t.Fatalf("asked for %d s, got %x", lifetime, value)
				}
				m.allocated(c.tuple, c.user, netip.AddrPortFrom(m.cfg.PublicIPv4, uint16(relayed.Port)), modelLifetime(lifetime), token, string(fresh))
			},
			"refresh": func(t *rapid.T) {
				c, lifetime := someClient.Draw(t, "client"), someLifetime.Draw(t, "lifetime")
				final(m.refresh(c.tuple, c.user, lifetime), do(c, stun.MethodRefresh, secondsAttr(lifetime)))
			},
			"permit": func(t *rapid.T) {
				c := someClient.Draw(t, "client")
				peers := rapid.SliceOfN(somePeer, 0, 3).Draw(t, "peers")
				var attrs []stun.Setter
				for _, p := range peers {
					attrs = append(attrs, rawPeer(p))
				}
				final(m.permit(c.tuple, c.user, peers), do(c, stun.MethodCreatePermission, attrs...))
			},
			"bind": func(t *rapid.T) {
				c, number, peer := someClient.Draw(t, "client"), someNumber.Draw(t, "number"), somePeer.Draw(t, "peer")
				final(m.bind(c.tuple, c.user, number, peer), do(c, stun.MethodChannelBind, numberAttr(number), rawPeer(peer)))
			},
			"another user": func(t *rapid.T) {
				c := *someClient.Draw(t, "client")
				if c.user == "alice" {
					c.user, c.password = "bob", "builder"
				} else {
					c.user, c.password = "alice", "wonder"
				}
				final(m.refresh(c.tuple, c.user, 600), do(&c, stun.MethodRefresh, secondsAttr(600)))
			},
			"delete": func(t *rapid.T) {
				m.expire()
				if len(m.allocs) == 0 {
					return
				}
				a := rapid.SampledFrom(m.allocs).Draw(t, "allocation")
				for v := range w.s.Views() {
					if v.Public != a.public {
						continue
					}
					if rapid.Bool().Draw(t, "socket") {
						w.run(w.s.SocketFailed(w.now, v.Relayed, errors.New("gone")))
					} else {
						w.run(w.s.Delete(w.now, v.ID, "admin"))
					}
				}
				settle()
				m.end(a)
			},
			"ports fail": func(t *rapid.T) {
				clear(w.fail)
				for _, port := range rapid.SliceOfN(rapid.Uint16Range(50001, 50008), 0, 6).Draw(t, "ports") {
					w.fail[port] = errors.New("busy")
				}
			},
			"reconfigure": func(t *rapid.T) {
				cfg := propertyConfig()
				cfg.HighestPort = rapid.Uint16Range(50002, 50008).Draw(t, "highest")
				cfg.Total = rapid.IntRange(1, 5).Draw(t, "total")
				if rapid.Bool().Draw(t, "without bob") {
					delete(cfg.Users, "bob")
				}
				denied := rapid.SampledFrom([]netip.Addr{{}, ip("192.0.2.1"), ip("192.0.2.2"), cfg.PublicIPv4}).Draw(t, "denied")
				if denied.IsValid() {
					cfg.Policy = NewPolicy(prefixes("192.0.2.0/24"), []netip.Prefix{netip.PrefixFrom(denied, 32)})
				}
				w.run(w.s.Reconfigure(w.now, cfg))
				settle()
				m.reconfigure(cfg, denied)
			},
			"": func(t *rapid.T) {
				w.run(w.s.Tick(w.now))
				settle()
				m.expire()
				want := m.state()
				published := make([]*View, 0, len(w.views))
				for _, v := range w.views {
					published = append(published, v)
				}
				if got := viewState(published); !slices.Equal(got, want) {
					t.Fatalf("published\n%q\nwant\n%q", got, want)
				}
				if got := viewState(slices.Collect(w.s.Views())); !slices.Equal(got, want) || w.s.Len() != len(want) {
					t.Fatalf("held\n%q\nwant\n%q", got, want)
				}
				if got := replayed.state(); !slices.Equal(got, want) {
					t.Fatalf("the log says\n%q\nwant\n%q", got, want)
				}
				used := m.ports()
				if len(w.bound) != len(used) || len(w.s.taken) != len(used) {
					t.Fatalf("bound %v, taken %v, want %v", w.bound, w.s.taken, used)
				}
				for a := range w.bound {
					if !used[a.Port()] {
						t.Fatalf("%s is bound for nobody", a)
					}
				}
				for _, user := range []string{"alice", "bob"} {
					if w.s.held[user] != m.held(user) {
						t.Fatalf("%s holds %d, want %d", user, w.s.held[user], m.held(user))
					}
				}
				if next, ok := m.next(); ok {
					if at, set := w.s.Deadline(); !set || at.After(next) || !at.After(w.now) {
						t.Fatalf("deadline %s, now %s, want %s at the latest", at, w.now, next)
					}
				}
			},
		})
		w.run(w.s.Shutdown(w.now))
		settle()
		if len(w.bound)+len(w.views)+len(replayed)+len(w.s.timers)+len(w.s.taken)+len(w.s.held) != 0 {
			t.Fatalf("left after shutdown: %v %v %v", w.bound, w.views, replayed)
		}
	})
}

// Binds that are answered late, in any order, with requests and the end of the
// run between: what is bound is used once and given back.
func TestLateBinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := propertyConfig()
		cfg.PerUser = 0
		w := newWorld(t, cfg)
		w.hold = true
		var clients []*client
		for i := range 5 {
			addr := netip.AddrPortFrom(ip("198.51.100.4"), uint16(40000+i))
			clients = append(clients, w.client(addr.String(), "alice", "wonder"))
		}
		answer := func(t *rapid.T) {
			if len(w.waiting) == 0 {
				return
			}
			i := rapid.IntRange(0, len(w.waiting)-1).Draw(t, "which")
			relayed := w.waiting[i]
			w.waiting = slices.Delete(w.waiting, i, i+1)
			w.answer(relayed)
		}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				attrs := []stun.Setter{udp}
				if rapid.Bool().Draw(t, "pair") {
					attrs = append(attrs, attribute(stun.AttrEvenPort, 0x80))
				}
				rapid.SampledFrom(clients).Draw(t, "client").do(stun.MethodAllocate, attrs...)
			},
			"refresh": func(t *rapid.T) {
				rapid.SampledFrom(clients).Draw(t, "client").refresh(0)
			},
			"answer": answer,
			"ports fail": func(t *rapid.T) {
				clear(w.fail)
				for _, port := range rapid.SliceOfN(rapid.Uint16Range(50001, 50008), 0, 4).Draw(t, "ports") {
					w.fail[port] = errors.New("busy")
				}
			},
			"time passes": func(t *rapid.T) {
				w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, 10 * time.Minute}).Draw(t, "by"))
				w.run(w.s.Tick(w.now))
			},
			"": func(t *rapid.T) {
				seen := map[netip.AddrPort]bool{}
				for _, a := range w.waiting {
					if seen[a] || w.bound[a] {
						t.Fatalf("%s is asked for twice", a)
					}
					seen[a] = true
				}
				if len(w.s.binding) != len(w.waiting) || len(w.s.pending) != len(w.waiting) {
					t.Fatalf("%d Binds wait, %d are known, for %d requests", len(w.waiting), len(w.s.binding), len(w.s.pending))
				}
				for a := range w.bound {
					if _, taken := w.s.taken[a]; !taken {
						t.Fatalf("%s is bound and free", a)
					}
				}
			},
		})
		w.run(w.s.Shutdown(w.now))
		for len(w.waiting) > 0 {
			relayed := w.waiting[0]
			w.waiting = w.waiting[1:]
			w.answer(relayed)
		}
		if len(w.bound)+len(w.views)+len(w.s.taken)+len(w.s.held)+len(w.s.pending)+len(w.s.binding)+len(w.s.reservations) != 0 {
			t.Fatalf("left after shutdown: %v", w.bound)
		}
	})
}
