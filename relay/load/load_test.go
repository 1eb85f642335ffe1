// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"plumbline/relay/probe"
)

func options(server string) Options {
	return Options{Server: server, User: "alice", Password: "wonderland", Allocations: 3, Rate: 600, Size: 172,
		Duration: 500 * time.Millisecond, Timeout: 10 * time.Second}
}

func TestHealthyRelay(t *testing.T) {
	t.Parallel()
	r, err := Run(t.Context(), options(startRelay(t, "127.0.0.1")))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []Direction{r.ToPeers, r.ToClients} {
		if d.Sent < 10 || d.Received != d.Sent || len(d.bad()) > 0 || d.Foreign > 0 || d.P50US <= 0 || d.P50US > d.P99US || d.P99US > d.MaxUS {
			t.Errorf("%+v", d)
		}
	}
	if sent := r.ToPeers.Sent + r.ToClients.Sent; sent+r.Unsent < 290 || sent > 301 {
		t.Errorf("%d sent, %d not, in 500 ms at 600/s", sent, r.Unsent)
	}
	if len(r.Relayed) != 3 || r.PeerAddress != "127.0.0.1" || r.DataIndications != 0 || r.Interrupted {
		t.Errorf("%+v", r)
	}
}

// wrong does to payloads of every tenth number what a fault does, and counts
// what it did, by way.
func wrong(what func(p *proxy, client int, b []byte) [][]byte) (fault func(*proxy, int, bool, []byte) [][]byte, did *[ways]atomic.Uint64) {
	did = new([ways]atomic.Uint64)
	return func(p *proxy, client int, up bool, b []byte) [][]byte {
		if len(b) < 4+headerSize || b[0]>>6 != 1 {
			return [][]byte{b}
		}
		packet, intact := readPacket(b[4:])
		if !intact || packet.number%10 != 3 {
			return [][]byte{b}
		}
		did[packet.stream.way].Add(1)
		if up != (packet.stream.way == toPeers) {
			panic("a packet goes the wrong way")
		}
		return what(p, client, b)
	}, did
}

func TestFaultsAreCountedExactly(t *testing.T) {
	t.Parallel()
	server := startRelay(t, "127.0.0.1")
	change := func(at int) func(*proxy, int, []byte) [][]byte {
		return func(_ *proxy, _ int, b []byte) [][]byte { b[4+at] ^= 0x10; return [][]byte{b} }
	}
	corrupted := func(d Direction) uint64 { return d.Corrupted }
	for name, c := range map[string]struct {
		do     func(*proxy, int, []byte) [][]byte
		counts func(Direction) uint64
		says   string
	}{
		"dropped":    {func(*proxy, int, []byte) [][]byte { return nil }, func(d Direction) uint64 { return d.Lost }, "lost"},
		"twice":      {func(_ *proxy, _ int, b []byte) [][]byte { return [][]byte{b, b} }, func(d Direction) uint64 { return d.Duplicated }, "duplicated"},
		"run":        {change(0), corrupted, "corrupted"},
		"number":     {change(11), corrupted, "corrupted"},
		"time":       {change(20), corrupted, "corrupted"},
		"sum":        {change(24), corrupted, "corrupted"},
		"first byte": {change(headerSize), corrupted, "corrupted"},
		"last byte":  {change(171), corrupted, "corrupted"},
		"shortened": {func(_ *proxy, _ int, b []byte) [][]byte {
			b[3]--
			return [][]byte{b[:len(b)-1]}
		}, corrupted, "corrupted"},
	} {
		fault, did := wrong(c.do)
		o := options("")
		o.Server, _ = startProxy(t, server, fault)
		o.Timeout = 1500 * time.Millisecond // waits for all of it when packets are lost
		r, err := Run(t.Context(), o)
		if !errors.Is(err, ErrImperfect) || r.OK || !strings.Contains(r.Error, c.says) {
			t.Errorf("%s: error %v", name, err)
		}
		for w, d := range []Direction{r.ToPeers, r.ToClients} {
			want := did[w].Load()
			if want < 3 || c.counts(d) != want || d.Lost+d.Duplicated+d.Corrupted+d.Misdelivered != want {
				t.Errorf("%s, %s: %d done, found %+v", name, names[w], want, d)
			}
			if d.Received+d.Lost+d.Corrupted != d.Sent {
				t.Errorf("%s, %s: does not add up: %+v", name, names[w], d)
			}
		}
	}
}

func TestReorderedAndMisdelivered(t *testing.T) {
	t.Parallel()
	server := startRelay(t, "127.0.0.1")
	var mu sync.Mutex
	held, swapped := map[identity][]byte{}, map[identity]uint64{}
	var crossed [ways]uint64
	o := options("")
	o.Timeout = 1500 * time.Millisecond
	o.Server, _ = startProxy(t, server, func(p *proxy, client int, up bool, b []byte) [][]byte {
		packet, intact := readPacket(b[min(4, len(b)):])
		if !intact {
			return [][]byte{b}
		}
		mu.Lock()
		defer mu.Unlock()
		if first := held[packet.stream]; first != nil {
			delete(held, packet.stream)
			swapped[packet.stream]++
			return [][]byte{b, first}
		}
		if packet.number == 4 {
			held[packet.stream] = slices.Clone(b)
			return nil
		}
		if packet.number == 8 && up { // to another's peer: every client has the same channel number
			crossed[packet.stream.way]++
			p.mu.Lock()
			other := p.ups[(client+1)%len(p.ups)]
			p.mu.Unlock()
			_, _ = other.Write(b)
			return nil
		}
		return [][]byte{b}
	})
	r, err := Run(t.Context(), o)
	if !errors.Is(err, ErrImperfect) {
		t.Fatal(err)
	}
	if len(swapped) != 6 || r.ToPeers.Reordered != 3 || r.ToClients.Reordered != 3 {
		t.Errorf("%v swapped, found %d and %d", swapped, r.ToPeers.Reordered, r.ToClients.Reordered)
	}
	if crossed[toPeers] != 3 || r.ToPeers.Misdelivered != 3 || r.ToPeers.Lost != 3 || r.ToClients.Misdelivered+r.ToClients.Lost != 0 {
		t.Errorf("%v crossed, found %+v and %+v", crossed, r.ToPeers, r.ToClients)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	server := startRelay(t, "192.0.2.1")
	for says, c := range map[string]struct {
		change func(*Options)
		is     error
	}{
		"peers.allow":  {func(*Options) {}, probe.ErrForbidden},
		"127.0.0.2/32": {func(o *Options) { o.PeerAddress = netip.MustParseAddr("127.0.0.2") }, probe.ErrForbidden},
		"user name":    {func(o *Options) { o.Password = "looking-glass" }, probe.ErrCredentials},
		"--size":       {func(o *Options) { o.Size = 1 << 20 }, nil},
	} {
		o := options(server)
		c.change(&o)
		r, err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), says) || c.is != nil && !errors.Is(err, c.is) || r.OK || r.Error != err.Error() {
			t.Errorf("want %q and %v, got: %v", says, c.is, err)
		}
	}
	o := options(startRelay(t, "127.0.0.1"))
	o.Allocations = 11
	if _, err := Run(t.Context(), o); !errors.Is(err, probe.ErrRefused) || !strings.Contains(err.Error(), "allocations.per_user") {
		t.Errorf("error %v", err)
	}
}

// Whatever ends a run, its allocations are given back: a relay that lets a user
// hold ten serves one run of ten after the other.
func TestAllocationsAreGivenBack(t *testing.T) {
	t.Parallel()
	o := options(startRelay(t, "127.0.0.1"))
	o.Allocations, o.Duration = 10, 50*time.Millisecond
	for range 3 {
		eventually(t, o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancelling := o
	cancelling.Progress = func(p Progress) {
		if p.Allocations == 5 {
			cancel()
		}
	}
	if _, err := Run(ctx, cancelling); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	eventually(t, o)
}

// eventually runs until the relay has seen that the allocations before were
// given back, which nobody waits for.
func eventually(t *testing.T, o Options) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if _, err = Run(t.Context(), o); !errors.Is(err, probe.ErrRefused) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o := options(startRelay(t, "127.0.0.1"))
	o.Duration = time.Minute
	o.Progress = func(p Progress) {
		if p.Received > 0 {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if err != nil || !r.Interrupted || r.ToPeers.Received == 0 || r.ToPeers.Lost+r.ToClients.Lost > 0 || r.TookS > 30 {
		t.Fatalf("%v, %+v", err, r)
	}
	o.Progress = nil
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it began: %v", err)
	}
}

func TestRefreshesAndFindsThatOneFails(t *testing.T) {
	t.Parallel()
	server := startRelay(t, "127.0.0.1")
	var requests, deaf atomic.Int64
	fault := func(_ *proxy, _ int, up bool, b []byte) [][]byte {
		if up && bytes.HasPrefix(b, []byte{0, 4}) { // a Refresh request
			if requests.Add(1); deaf.Load() > 0 {
				return nil
			}
		}
		return [][]byte{b}
	}
	o := options("")
	o.Server, _ = startProxy(t, server, fault)
	o.keepAlive = 50 * time.Millisecond
	if _, err := Run(t.Context(), o); err != nil || requests.Load() < 6 {
		t.Errorf("%v after %d refreshes", err, requests.Load())
	}
	deaf.Store(1)
	o.Timeout, o.Duration = 300*time.Millisecond, time.Minute
	if r, err := Run(t.Context(), o); !errors.Is(err, probe.ErrUnreachable) || !strings.Contains(err.Error(), "Refresh") || r.ToPeers.Sent == 0 {
		t.Errorf("error %v, %+v", err, r)
	}
}
