// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"plumbline/logs"
)

// model is TURN as slowly and plainly as it can be written: no indexes, no
// timers, no effects. It says what the code of each answer must be, and what is
// held after it.
type model struct {
	now      time.Time
	cfg      Config
	allocs   []*modelAllocation
	reserved []*modelReservation
	fail     map[uint16]error
	denied   netip.Addr // by the operator, within what is allowed
}

type modelAllocation struct {
	user     string
	tuple    FiveTuple
	public   netip.AddrPort
	expires  time.Time
	perms    map[netip.Addr]time.Time
	channels map[uint16]modelChannel
}

type modelChannel struct {
	peer    netip.AddrPort
	expires time.Time
}

type modelReservation struct {
	user    string
	token   string
	port    uint16
	expires time.Time
}

// expire drops what is over, and channels to what is over.
func (m *model) expire() {
	for _, a := range slices.Clone(m.allocs) {
		if !m.now.Before(a.expires) {
			m.end(a)
		}
	}
	for _, a := range m.allocs {
		maps.DeleteFunc(a.perms, func(_ netip.Addr, t time.Time) bool { return !m.now.Before(t) })
		maps.DeleteFunc(a.channels, func(_ uint16, c modelChannel) bool { return !m.now.Before(c.expires) })
	}
	m.reserved = slices.DeleteFunc(m.reserved, func(r *modelReservation) bool { return !m.now.Before(r.expires) })
}

func (m *model) end(ended *modelAllocation) {
	m.allocs = slices.DeleteFunc(m.allocs, func(a *modelAllocation) bool { return a == ended })
	for _, a := range m.allocs {
		maps.DeleteFunc(a.channels, func(_ uint16, c modelChannel) bool { return c.peer == ended.public })
	}
}

func (m *model) at(tuple FiveTuple) *modelAllocation {
	for _, a := range m.allocs {
		if a.tuple == tuple {
			return a
		}
	}
	return nil
}

// owned is the first part of every request but Allocate.
func (m *model) owned(tuple FiveTuple, user string) (*modelAllocation, int) {
	m.expire()
	a := m.at(tuple)
	switch {
	case m.cfg.Users[user] == "":
		return nil, 401
	case a == nil:
		return nil, 437
	case a.user != user:
		return nil, 441
	}
	return a, 0
}

func (m *model) ports() map[uint16]bool {
	used := map[uint16]bool{}
	for _, a := range m.allocs {
		used[a.public.Port()] = true
	}
	for _, r := range m.reserved {
		used[r.port] = true
	}
	return used
}

func (m *model) held(user string) (n int) {
	for _, a := range m.allocs {
		if a.user == user {
			n++
		}
	}
	for _, r := range m.reserved {
		if r.user == user {
			n++
		}
	}
	return n
}

// choices are the ports that an Allocate may get.
func (m *model) choices(want pair) (ports []uint16) {
	used := m.ports()
	ok := func(p uint16) bool {
		return p >= m.cfg.LowestPort && p <= m.cfg.HighestPort && !used[p] && m.fail[p] == nil
	}
	for p := m.cfg.LowestPort; p <= m.cfg.HighestPort; p++ {
		if ok(p) && (want == anyPort || p%2 == 0) && (want != evenPair || ok(p+1)) {
			ports = append(ports, p)
		}
	}
	return ports
}

// allocate is the code of the answer, and the ports that it may give.
func (m *model) allocate(tuple FiveTuple, user string, want pair, token string) (code int, ports []uint16) {
	m.expire()
	if m.cfg.Users[user] == "" {
		return 401, nil
	}
	if m.at(tuple) != nil {
		return 437, nil
	}
	if token != "" {
		for _, r := range m.reserved {
			if r.token == token && r.user == user {
				return 0, []uint16{r.port}
			}
		}
		return 508, nil
	}
	need := 1
	if want == evenPair {
		need = 2
	}
	if m.held(user)+need > m.cfg.PerUser {
		return 486, nil
	}
	if len(m.ports())+need > m.cfg.Total {
		return 486, nil
	}
	if ports = m.choices(want); len(ports) == 0 {
		return 508, nil
	}
	return 0, ports
}

func (m *model) allocated(tuple FiveTuple, user string, public netip.AddrPort, lifetime time.Duration, claimed, token string) {
	m.reserved = slices.DeleteFunc(m.reserved, func(r *modelReservation) bool { return claimed != "" && r.token == claimed })
	m.allocs = append(m.allocs, &modelAllocation{user: user, tuple: tuple, public: public, expires: m.now.Add(lifetime),
		perms: map[netip.Addr]time.Time{}, channels: map[uint16]modelChannel{}})
	if token != "" {
		m.reserved = append(m.reserved, &modelReservation{user, token, public.Port() + 1, m.now.Add(30 * time.Second)})
	}
}

func modelLifetime(asked uint32) time.Duration {
	d := time.Duration(asked) * time.Second
	if d > time.Hour {
		return time.Hour
	}
	if d < 10*time.Minute {
		return 10 * time.Minute
	}
	return d
}

func (m *model) refresh(tuple FiveTuple, user string, asked uint32) int {
	a, code := m.owned(tuple, user)
	if code != 0 {
		return code
	}
	if asked == 0 {
		m.end(a)
		return 0
	}
	a.expires = m.now.Add(modelLifetime(asked))
	return 0
}

// reach is 0 for the test's documentation network and our own public address.
func (m *model) reach(peer netip.Addr) int {
	switch {
	case !peer.Is4():
		return 443
	case peer == m.denied:
		return 403
	case peer == m.cfg.PublicIPv4, netip.MustParsePrefix("192.0.2.0/24").Contains(peer):
		return 0
	}
	return 403
}

func (m *model) permit(tuple FiveTuple, user string, peers []netip.AddrPort) int {
	a, code := m.owned(tuple, user)
	if code != 0 {
		return code
	}
	if len(peers) == 0 {
		return 400
	}
	for _, p := range peers {
		if m.reach(p.Addr()) == 443 {
			return 443
		}
	}
	for _, p := range peers {
		if m.reach(p.Addr()) == 403 {
			return 403
		}
	}
	for _, p := range peers {
		a.perms[p.Addr()] = m.now.Add(5 * time.Minute)
	}
	return 0
}

func (m *model) bind(tuple FiveTuple, user string, number uint16, peer netip.AddrPort) int {
	a, code := m.owned(tuple, user)
	if code != 0 {
		return code
	}
	if number < 0x4000 || number > 0x7FFF {
		return 400
	}
	for n, c := range a.channels {
		if n == number && c.peer != peer || n != number && c.peer == peer {
			return 400
		}
	}
	if code := m.reach(peer.Addr()); code != 0 {
		return code
	}
	if peer.Addr() == m.cfg.PublicIPv4 && !slices.ContainsFunc(m.allocs, func(o *modelAllocation) bool { return o.public == peer }) {
		return 403
	}
	a.perms[peer.Addr()] = m.now.Add(5 * time.Minute)
	a.channels[number] = modelChannel{peer, m.now.Add(10 * time.Minute)}
	return 0
}

// reconfigure takes what the new policy refuses.
func (m *model) reconfigure(cfg Config, denied netip.Addr) {
	m.expire()
	m.cfg, m.denied = cfg, denied
	for _, a := range m.allocs {
		maps.DeleteFunc(a.perms, func(p netip.Addr, _ time.Time) bool { return m.reach(p) != 0 })
		maps.DeleteFunc(a.channels, func(_ uint16, c modelChannel) bool { return m.reach(c.peer.Addr()) != 0 })
	}
}

// next is when something ends.
func (m *model) next() (at time.Time, ok bool) {
	earliest := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	for _, a := range m.allocs {
		earliest(a.expires)
		for _, t := range a.perms {
			earliest(t)
		}
		for _, c := range a.channels {
			earliest(c.expires)
		}
	}
	for _, r := range m.reserved {
		earliest(r.expires)
	}
	return at, ok
}

// stateText writes an allocation's state so that two can be compared and read.
func stateText(user string, tuple FiveTuple, public netip.AddrPort, expires time.Time, perms map[netip.Addr]time.Time, channels map[uint16]modelChannel) string {
	s := fmt.Sprintf("%s %s %s until %s", user, tuple.Client, public, expires.Sub(start))
	for _, p := range slices.SortedFunc(maps.Keys(perms), netip.Addr.Compare) {
		s += fmt.Sprintf("; %s until %s", p, perms[p].Sub(start))
	}
	for _, n := range slices.Sorted(maps.Keys(channels)) {
		s += fmt.Sprintf("; %#x %s until %s", n, channels[n].peer, channels[n].expires.Sub(start))
	}
	return s
}

func (m *model) state() (lines []string) {
	for _, a := range m.allocs {
		lines = append(lines, stateText(a.user, a.tuple, a.public, a.expires, a.perms, a.channels))
	}
	slices.Sort(lines)
	return lines
}

func viewState(views []*View) (lines []string) {
	for _, v := range views {
		channels := map[uint16]modelChannel{}
		for _, c := range v.Channels {
			channels[c.Number] = modelChannel{c.Peer, c.Expires}
		}
		lines = append(lines, stateText(v.User, v.Tuple, v.Public, v.Expires, v.Permissions, channels))
	}
	slices.Sort(lines)
	return lines
}

// replay rebuilds the state from events alone: the log must be the state.
type replay map[string]*modelAllocation

func (r replay) take(e logs.Event) error {
	find := func(id string) *modelAllocation {
		if r[id] == nil {
			r[id] = &modelAllocation{}
		}
		return r[id]
	}
	known := true
	switch e := e.(type) {
	case logs.AllocationCreated:
		known = r[e.Allocation] == nil
		r[e.Allocation] = &modelAllocation{user: e.User, tuple: FiveTuple{Client: e.Client.AddrPort}, public: e.Relayed[0].AddrPort,
			expires: e.Expires.Time, perms: map[netip.Addr]time.Time{}, channels: map[uint16]modelChannel{}}
	case logs.AllocationRefreshed:
		find(e.Allocation).expires = e.Expires.Time
	case logs.AllocationDeleted:
		known = r[e.Allocation] != nil
		delete(r, e.Allocation)
	case logs.PermissionCreated:
		_, exists := find(e.Allocation).perms[netip.MustParseAddr(e.Peer)]
		known = !exists
		r[e.Allocation].perms[netip.MustParseAddr(e.Peer)] = e.Expires.Time
	case logs.PermissionRefreshed:
		_, known = find(e.Allocation).perms[netip.MustParseAddr(e.Peer)]
		r[e.Allocation].perms[netip.MustParseAddr(e.Peer)] = e.Expires.Time
	case logs.PermissionExpired:
		_, known = find(e.Allocation).perms[netip.MustParseAddr(e.Peer)]
		delete(r[e.Allocation].perms, netip.MustParseAddr(e.Peer))
	case logs.ChannelBound:
		_, exists := find(e.Allocation).channels[uint16(e.Channel)]
		known = !exists
		r[e.Allocation].channels[uint16(e.Channel)] = modelChannel{e.Peer.AddrPort, e.Expires.Time}
	case logs.ChannelRefreshed:
		known = find(e.Allocation).channels[uint16(e.Channel)].peer == e.Peer.AddrPort
		r[e.Allocation].channels[uint16(e.Channel)] = modelChannel{e.Peer.AddrPort, e.Expires.Time}
	case logs.ChannelExpired:
		known = find(e.Allocation).channels[uint16(e.Channel)].peer == e.Peer.AddrPort
		delete(r[e.Allocation].channels, uint16(e.Channel))
	}
	if !known {
		return errors.New(e.Name() + " does not follow from the events before it: " + e.Message())
	}
	return nil
}

func (r replay) state() (lines []string) {
	for _, a := range r {
		lines = append(lines, stateText(a.user, a.tuple, a.public, a.expires, a.perms, a.channels))
	}
	slices.Sort(lines)
	return lines
}
