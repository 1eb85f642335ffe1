// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/nexthop"
	"plumbline/relay/turn"
)

// fakeKernel is the router's maps as plain memory. fail makes the next call of
// an operation fail; corrupt changes what an operation writes.
type fakeKernel struct {
	slots    [2]bpf.Slot
	active   bpf.Active
	observed [2][]bpf.Observation
	routes   map[bpf.RouteKey]uint32
	flows    map[uint32]bpf.Flow
	traffic  map[uint32]logs.Traffic
	room     int

	fail    map[string]error
	corrupt map[string]bool
	calls   []string
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{
		routes: map[bpf.RouteKey]uint32{}, flows: map[uint32]bpf.Flow{}, traffic: map[uint32]logs.Traffic{},
		room: 1 << 20, fail: map[string]error{}, corrupt: map[string]bool{},
	}
}

// call notes an operation. An error set in fail is used up by it.
func (k *fakeKernel) call(name string) error {
	k.calls = append(k.calls, name)
	err := k.fail[name]
	delete(k.fail, name)
	return err
}

func (k *fakeKernel) count(name string) (n int) {
	for _, c := range k.calls {
		if c == name {
			n++
		}
	}
	return n
}

func (k *fakeKernel) ReadSlot(i uint32) (bpf.Slot, error) { return k.slots[i], k.call("ReadSlot") }
func (k *fakeKernel) WriteSlot(i uint32, s bpf.Slot) error {
	if err := k.call("WriteSlot"); err != nil {
		return err
	}
	if k.corrupt["WriteSlot"] {
		s[17] ^= 1
	}
	k.slots[i] = s
	return nil
}
func (k *fakeKernel) ReadActive() (bpf.Active, error) { return k.active, k.call("ReadActive") }
func (k *fakeKernel) WriteActive(a bpf.Active) error {
	if err := k.call("WriteActive"); err != nil {
		return err
	}
	if k.corrupt["WriteActive"] {
		delete(k.corrupt, "WriteActive")
		a.Slot = 7
	}
	k.active = a
	return nil
}
func (k *fakeKernel) Observed(i uint32) ([]bpf.Observation, error) {
	return k.observed[i], k.call("Observed")
}
func (k *fakeKernel) Routes() ([]bpf.Route, error) {
	var all []bpf.Route
	for key, n := range k.routes {
		all = append(all, bpf.Route{Key: key, Number: n})
	}
	return all, k.call("Routes")
}
func (k *fakeKernel) LookupRoute(key bpf.RouteKey) (uint32, bool, error) {
	n, ok := k.routes[key]
	return n, ok, k.call("LookupRoute")
}
func (k *fakeKernel) PutRoute(key bpf.RouteKey, n uint32) error {
	if err := k.call("PutRoute"); err != nil {
		return err
	}
	if _, held := k.routes[key]; !held && len(k.routes) >= k.room {
		return fmt.Errorf("put route: %w", bpf.ErrFull)
	}
	k.routes[key] = n
	return nil
}
func (k *fakeKernel) DeleteRoute(key bpf.RouteKey) error {
	delete(k.routes, key)
	return k.call("DeleteRoute")
}
func (k *fakeKernel) PutFlow(n uint32, f bpf.Flow) error {
	if err := k.call("PutFlow"); err != nil {
		return err
	}
	if k.corrupt["PutFlow"] {
		f.MTU++
	}
	k.flows[n] = f
	return nil
}
func (k *fakeKernel) ReadFlow(n uint32) (bpf.Flow, error) { return k.flows[n], k.call("ReadFlow") }
func (k *fakeKernel) SetExpiry(n uint32, ns uint64) error {
	f := k.flows[n]
	f.ExpiryNS = ns
	k.flows[n] = f
	return k.call("SetExpiry")
}
func (k *fakeKernel) FlowTraffic(n uint32) (uint64, uint64, error) {
	return k.traffic[n].Packets, k.traffic[n].Bytes, k.call("FlowTraffic")
}

// carry lets the router relay packets under whatever number a key leads to.
func (k *fakeKernel) carry(t *testing.T, key bpf.RouteKey, packets uint64) {
	t.Helper()
	n, ok := k.routes[key]
	if !ok {
		t.Fatalf("no route %s to carry packets", key)
	}
	k.traffic[n] = k.traffic[n].Add(logs.Traffic{Packets: packets, Bytes: 100 * packets})
}

type fakeResolver struct {
	err   error
	asked int
	hop   map[netip.Addr]nexthop.NextHop
}

func (f *fakeResolver) Resolve(_, destination netip.Addr) (nexthop.NextHop, error) {
	f.asked++
	if hop, ok := f.hop[destination]; ok {
		return hop, nil
	}
	if f.err != nil {
		return nexthop.NextHop{}, f.err
	}
	last := destination.As4()[3]
	return nexthop.NextHop{Ifindex: 3, SrcMAC: [6]byte{2, 0, 0, 0, 0, 1}, DstMAC: [6]byte{2, 0, 0, 0, 1, last}, MTU: 1500}, nil
}

// bench is a reconciler over a fake kernel, with a clock that only the test
// moves and every event at hand.
type bench struct {
	*Reconciler
	t        *testing.T
	kernel   *fakeKernel
	resolver *fakeResolver
	events   []logs.Event
	now      time.Time
	graces   int
	counters int
}

func (b *bench) Log(e logs.Event) {
	if e.Message() == "" {
		b.t.Errorf("%s has no message", e.Name())
	}
	b.events = append(b.events, e)
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, kernel: newFakeKernel(), resolver: &fakeResolver{}, now: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)}
	b.Reconciler = New(Options{
		Kernel: b.kernel, Sink: b, Resolver: b.resolver, MaxFlows: 1024,
		Grace:     func() error { b.graces++; return nil },
		Now:       func() time.Time { return b.now },
		Monotonic: func() uint64 { return uint64(b.now.UnixNano()) },
		Counters:  func() { b.counters++; b.events = append(b.events, logs.DatapathCounters{}) },
	})
	return b
}

// names lists the events since the last call.
func (b *bench) names() []string {
	var names []string
	for _, e := range b.events {
		names = append(names, e.Name())
	}
	b.events = nil
	return names
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	if got := b.names(); !slices.Equal(got, want) {
		b.t.Fatalf("events %q, want %q", got, want)
	}
}

// event is the newest of a type.
func event[E logs.Event](b *bench) E {
	b.t.Helper()
	for _, e := range slices.Backward(b.events) {
		if e, ok := e.(E); ok {
			return e
		}
	}
	var none E
	b.t.Fatalf("no %s among %d events", none.Name(), len(b.events))
	return none
}

var errInjected = errors.New("injected")

func routerConfig(generation uint32) bpf.Config {
	return bpf.Config{Generation: generation, Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478}}
}

func (b *bench) applied(generation uint32) *bench {
	b.t.Helper()
	if err := b.Apply(routerConfig(generation), "digest"); err != nil {
		b.t.Fatal(err)
	}
	b.events = nil
	return b
}

// view is an allocation with one channel and its permission.
func (b *bench) view() *turn.View {
	peer := netip.MustParseAddrPort("192.0.2.9:9000")
	relayed := netip.MustParseAddrPort("198.51.100.1:50000")
	return &turn.View{
		ID: "a-1", User: "alice",
		Tuple:   turn.FiveTuple{Client: netip.MustParseAddrPort("192.0.2.4:40112"), Server: netip.MustParseAddrPort("198.51.100.1:3478")},
		Relayed: relayed, Public: relayed,
		Created: b.now, Expires: b.now.Add(10 * time.Minute),
		Permissions: map[netip.Addr]time.Time{peer.Addr(): b.now.Add(5 * time.Minute)},
		Channels:    []turn.ChannelView{{Number: 0x4000, Peer: peer, Expires: b.now.Add(10 * time.Minute)}},
	}
}

var (
	toPeerKey   = bpf.RouteKey{Remote: netip.MustParseAddrPort("192.0.2.4:40112"), Local: netip.MustParseAddrPort("198.51.100.1:3478"), Channel: 0x4000}
	toClientKey = bpf.RouteKey{Remote: netip.MustParseAddrPort("192.0.2.9:9000"), Local: netip.MustParseAddrPort("198.51.100.1:50000")}
)
