// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

var start = time.Date(2026, 11, 24, 3, 22, 12, 0, time.UTC)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func ip(s string) netip.Addr     { return netip.MustParseAddr(s) }

func testConfig() Config {
	return Config{
		Realm:       "example.org",
		NonceKey:    [32]byte{1, 2, 3},
		Users:       map[string]string{"alice": "wonder", "bob": "builder"},
		RelayIPv4:   ip("10.0.0.5"),
		PublicIPv4:  ip("203.0.113.7"),
		LowestPort:  50000,
		HighestPort: 50099,
		OwnAddresses: []netip.Addr{
			ip("10.0.0.5"), ip("203.0.113.7"),
		},
		// Peers of the tests live in a documentation network.
		Policy: NewPolicy([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, nil),
	}
}

// world is a server with an executor that checks the effects' own rules: what
// is bound is free, what is released is bound, what is withdrawn was published,
// and a View never changes after it was published.
type world struct {
	t       fataler
	s       *Server
	now     time.Time
	bound   map[netip.AddrPort]bool
	views   map[string]*View
	waiting []netip.AddrPort // Binds not answered yet
	hold    bool             // leave Binds unanswered
	fail    map[uint16]error // ports that can't be bound
	effects []Effect         // of the last call, in the order of execution
	sent    []Send
	events  []logs.Event
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newWorld(t fataler, cfg Config) *world {
	return &world{t: t, s: New(cfg, [32]byte{42}), now: start, bound: map[netip.AddrPort]bool{},
		views: map[string]*View{}, fail: map[uint16]error{}}
}

// run executes effects the way the relay does: in order, answering a Bind while
// later effects of the same list still wait.
func (w *world) run(effects []Effect) {
	w.t.Helper()
	for _, e := range effects {
		w.effects = append(w.effects, e)
		switch e := e.(type) {
		case Send:
			w.sent = append(w.sent, e)
		case Report:
			if e.Event.Message() == "" {
				w.t.Fatalf("%s without a message", e.Event.Name())
			}
			w.events = append(w.events, e.Event)
		case Bind:
			if w.bound[e.Relayed] {
				w.t.Fatalf("Bind of %s, which is bound", e.Relayed)
			}
			if w.hold {
				w.waiting = append(w.waiting, e.Relayed)
				continue
			}
			w.answer(e.Relayed)
		case Release:
			if !w.bound[e.Relayed] {
				w.t.Fatalf("Release of %s, which is not bound", e.Relayed)
			}
			delete(w.bound, e.Relayed)
		case Publish:
			if !w.bound[e.View.Relayed] {
				w.t.Fatalf("Publish of %s on %s, which is not bound", e.View.ID, e.View.Relayed)
			}
			w.views[e.View.ID] = e.View
		case Withdraw:
			v := w.views[e.ID]
			if v == nil {
				w.t.Fatalf("Withdraw of %s, which is not published", e.ID)
			}
			delete(w.views, e.ID)
			w.events = append(w.events, e.Event)
		}
	}
}

func (w *world) answer(relayed netip.AddrPort) {
	w.t.Helper()
	err := w.fail[relayed.Port()]
	if err == nil {
		w.bound[relayed] = true
	}
	w.run(w.s.Bound(w.now, relayed, err))
}

func (w *world) reset() { w.effects, w.sent, w.events = nil, nil, nil }

// client is one 5-tuple with credentials.
type client struct {
	w           *world
	tuple       FiveTuple
	user        string
	password    string
	realm       string
	nonce       string
	fingerprint bool
	lastID      uint64
}

func (w *world) client(addr, user, password string) *client {
	return &client{w: w, tuple: FiveTuple{Client: ap(addr), Server: ap("10.0.0.5:3478")}, user: user, password: password}
}

func (c *client) newID() (id [12]byte) {
	c.lastID++
	binary.BigEndian.PutUint64(id[:], c.lastID)
	return id
}

// build makes a request; it is signed when the client has a nonce.
func (c *client) build(method stun.Method, id [12]byte, attrs ...stun.Setter) []byte {
	m := stun.New()
	m.TransactionID = id
	setters := append([]stun.Setter{stun.NewType(method, stun.ClassRequest)}, attrs...)
	if c.nonce != "" {
		setters = append(setters, stun.NewUsername(c.user), stun.NewRealm(c.realm), stun.NewNonce(c.nonce),
			stun.NewLongTermIntegrity(c.user, c.realm, c.password))
	}
	if c.fingerprint {
		setters = append(setters, stun.Fingerprint)
	}
	if err := m.Build(setters...); err != nil {
		c.w.t.Fatalf("build: %v", err)
	}
	return m.Raw
}

// raw sends bytes and returns the one response, or nil.
func (c *client) raw(b []byte) *stun.Message {
	c.w.t.Helper()
	c.w.reset()
	c.w.run(c.w.s.Handle(c.w.now, c.tuple, b))
	return c.response()
}

func (c *client) response() *stun.Message {
	c.w.t.Helper()
	var found *stun.Message
	for _, send := range c.w.sent {
		if send.To != c.tuple {
			continue
		}
		if found != nil {
			c.w.t.Fatalf("two responses to one request")
		}
		found = new(stun.Message)
		if err := stun.Decode(send.Payload, found); err != nil {
			c.w.t.Fatalf("response: %v", err)
		}
	}
	return found
}

// do sends a request, answers a challenge, and returns the final response.
func (c *client) do(method stun.Method, attrs ...stun.Setter) *stun.Message {
	c.w.t.Helper()
	for range 3 {
		m := c.raw(c.build(method, c.newID(), attrs...))
		if m == nil {
			return nil
		}
		if code := codeOf(m); code != 401 && code != 438 || code == 401 && c.nonce != "" {
			return m
		}
		c.take(m)
	}
	c.w.t.Fatalf("challenged again and again")
	return nil
}

func (c *client) take(m *stun.Message) {
	var realm stun.Realm
	var nonce stun.Nonce
	if realm.GetFrom(m) != nil || nonce.GetFrom(m) != nil {
		c.w.t.Fatalf("challenge without realm or nonce: %v", m)
	}
	c.realm, c.nonce = realm.String(), nonce.String()
}

// codeOf is the error code of a response, 0 for success, -1 for none.
func codeOf(m *stun.Message) int {
	if m == nil {
		return -1
	}
	var e stun.ErrorCodeAttribute
	if e.GetFrom(m) == nil {
		return int(e.Code)
	}
	return 0
}

func (c *client) want(code int, m *stun.Message) *stun.Message {
	c.w.t.Helper()
	if got := codeOf(m); got != code {
		c.w.t.Fatalf("got %d, want %d (%v)", got, code, m)
	}
	if m == nil {
		return nil
	}
	// Whatever is answered to an authenticated request is signed.
	if code != 401 && code != 438 && c.nonce != "" && m.Contains(stun.AttrMessageIntegrity) {
		if err := stun.NewLongTermIntegrity(c.user, c.realm, c.password).Check(m); err != nil {
			c.w.t.Fatalf("response %d: %v", code, err)
		}
	} else if code == 0 && m.Type.Method != stun.MethodBinding {
		c.w.t.Fatalf("success without MESSAGE-INTEGRITY")
	}
	return m
}

var udp = attribute(stun.AttrRequestedTransport, protocolUDP, 0, 0, 0)

func (c *client) allocate(attrs ...stun.Setter) *stun.Message {
	c.w.t.Helper()
	return c.do(stun.MethodAllocate, append([]stun.Setter{udp}, attrs...)...)
}

func (c *client) permit(peers ...string) *stun.Message {
	c.w.t.Helper()
	var attrs []stun.Setter
	for _, p := range peers {
		attrs = append(attrs, peerAttr(p))
	}
	return c.do(stun.MethodCreatePermission, attrs...)
}

func (c *client) bind(number uint16, peer string) *stun.Message {
	c.w.t.Helper()
	return c.do(stun.MethodChannelBind, numberAttr(number), peerAttr(peer))
}

func (c *client) refresh(seconds uint32) *stun.Message {
	c.w.t.Helper()
	return c.do(stun.MethodRefresh, secondsAttr(seconds))
}

// rawPeer writes the family that it is given: the codec turns IPv4-mapped
// addresses into IPv4.
type rawPeer netip.AddrPort

func (p rawPeer) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	raw := a.Addr().AsSlice()
	value := []byte{0, familyIPv4}
	if len(raw) == 16 {
		value[1] = familyIPv6
	}
	value = binary.BigEndian.AppendUint16(value, a.Port()^0x2112)
	mask := append([]byte{0x21, 0x12, 0xA4, 0x42}, m.TransactionID[:]...)
	for i := range raw {
		value = append(value, raw[i]^mask[i])
	}
	m.Add(stun.AttrXORPeerAddress, value)
	return nil
}

func peerAttr(s string) stun.Setter { return rawPeer(ap(s)) }

func numberAttr(n uint16) stun.Setter {
	return attribute(stun.AttrChannelNumber, byte(n>>8), byte(n), 0, 0)
}

func secondsAttr(n uint32) stun.Setter {
	return attribute(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, n)...)
}

func familyAttr(t stun.AttrType, family byte) stun.Setter { return attribute(t, family, 0, 0, 0) }

func addressOf(t testing.TB, m *stun.Message, attr stun.AttrType) netip.AddrPort {
	t.Helper()
	var a stun.XORMappedAddress
	if err := a.GetFromAs(m, attr); err != nil {
		t.Fatalf("%s: %v", attr, err)
	}
	addr, _ := netip.AddrFromSlice(a.IP)
	return netip.AddrPortFrom(addr.Unmap(), uint16(a.Port))
}

func lifetimeOf(t testing.TB, m *stun.Message) time.Duration {
	t.Helper()
	v, present, malformed := uint32Attribute(m, stun.AttrLifetime)
	if !present || malformed {
		t.Fatal("no LIFETIME")
	}
	return time.Duration(v) * time.Second
}

func (w *world) view(t testing.TB, id string) *View {
	t.Helper()
	v := w.views[id]
	if v == nil {
		t.Fatalf("%s is not published", id)
	}
	return v
}

// names are the events' names, in order.
func (w *world) names() (list []string) {
	for _, e := range w.events {
		list = append(list, e.Name())
	}
	return list
}
