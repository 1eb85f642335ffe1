// SPDX-License-Identifier: Apache-2.0

// Package load puts a bounded load on a TURN relay from outside: many
// allocations, each with a channel to a UDP peer of its own, and numbered,
// checksummed packets both ways through each. Every packet is accounted for by
// itself: what did not come, came twice, came changed, or came to somebody else
// is counted, per direction, with the time that it took.
//
// It runs open loop: it sends at the rate asked for whatever comes back. Both
// ends of all streams are in this process, so a time is one way and by one
// clock, and holds the delays of this process too. What this host's own sockets
// dropped is told apart from the relay's loss.
package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"plumbline/logs"
	"plumbline/relay/probe"
)

// ErrImperfect says that not every packet came exactly once, unchanged, to
// where it was sent.
var ErrImperfect = errors.New("not every packet came exactly once and unchanged")

// Bounds of Options. Together they bound the memory: a bit for each packet
// sent, 15 MB at the most, and 10 kB for each stream.
const (
	MaxAllocations = 1000
	MaxRate        = 200_000
	MinSize        = headerSize
	MaxSize        = 1448 // with headers of IPv6, UDP and ChannelData it fits an Ethernet frame
	MaxDuration    = 10 * time.Minute
	MaxTimeout     = time.Minute
)

// Options of a Run. There are no defaults here: each of the figures is needed.
type Options struct {
	Server         string // host or address, with or without a port
	User, Password string
	IPv6           bool          // reach the server over IPv6
	Allocations    int           // 1 to MaxAllocations
	Rate           int           // packets/s over all allocations and both directions, 1 to MaxRate
	Size           int           // of a payload in bytes, MinSize to MaxSize
	Duration       time.Duration // of sending, up to MaxDuration
	// Timeout is how long to wait for any one answer, and for the last packets;
	// up to MaxTimeout.
	Timeout time.Duration
	// PeerAddress is the local address of the peers, which the relay must reach
	// and allow; its family is that of the relayed addresses. Without one, the
	// local address that reaches the server.
	PeerAddress netip.Addr
	// Progress, if set, is told ten times a second how far the run is, by one
	// goroutine at a time.
	Progress func(Progress)

	keepAlive time.Duration // for tests: the time between refreshes
}

// Progress is how far a run is.
type Progress struct {
	Allocations, AllocationsWanted int
	Elapsed, Duration              time.Duration // of sending
	Sent, Received                 uint64
	Bad                            uint64 // duplicated, corrupted or misdelivered
}

// Check says which option is out of its bounds, in terms of the command line.
func (o Options) Check() error {
	for _, n := range []struct {
		flag              string
		value, least, top int
	}{
		{"--allocations", o.Allocations, 1, MaxAllocations},
		{"--rate", o.Rate, 1, MaxRate},
		{"--size", o.Size, MinSize, MaxSize},
	} {
		if n.value < n.least || n.value > n.top {
			return fmt.Errorf("%s %d: want %d to %d", n.flag, n.value, n.least, n.top)
		}
	}
	for _, d := range []struct {
		flag       string
		value, top time.Duration
	}{{"--duration", o.Duration, MaxDuration}, {"--timeout", o.Timeout, MaxTimeout}} {
		if d.value <= 0 || d.value > d.top {
			return fmt.Errorf("%s %v: want more than 0s, up to %v", d.flag, d.value, d.top)
		}
	}
	if o.PeerAddress.IsUnspecified() || o.PeerAddress.IsMulticast() {
		return fmt.Errorf("--peer-address %s: want the address of one of this host's interfaces", o.PeerAddress)
	}
	return nil
}

// Run loads a relay. When ctx ends while packets are sent, sending ends early,
// which is no error: the result says so. The result holds what was found until
// an error ended it. The error is one of package probe's, ErrImperfect, or ctx's
// when it ended before any packet was sent.
func Run(ctx context.Context, o Options) (Result, error) {
	result := Result{Server: o.Server, User: o.User, Allocations: o.Allocations, Rate: o.Rate, Size: o.Size, DurationS: o.Duration.Seconds()}
	err := o.Check()
	if err == nil {
		o.PeerAddress = o.PeerAddress.Unmap()
		err = run(ctx, o, &result)
	}
	result.OK = err == nil
	if err != nil {
		result.Error = err.Error()
	}
	return result, err
}

func run(ctx context.Context, o Options, result *Result) error {
	r := newRunner(o)
	defer r.close()
	if err := r.open(ctx); err != nil {
		return err
	}
	first := r.lanes[0]
	result.Server = first.allocation.Server().String()
	result.PeerAddress = first.peer.local.Addr().String()
	for _, l := range r.lanes {
		result.Relayed = append(result.Relayed, logs.Addr{AddrPort: l.allocation.Relayed()})
	}
	took, skipped, err := r.load(ctx)
	result.Interrupted = ctx.Err() != nil && took < o.Duration
	r.drain()
	r.summarise(result, took, skipped)
	if err == nil {
		err = context.Cause(r.failed) // a refresh may have failed since
	}
	if err != nil {
		return err
	}
	return result.judge()
}

// options are those of one allocation's client.
func (o Options) client() probe.Options {
	return probe.Options{Server: o.Server, User: o.User, Password: o.Password, IPv6: o.IPv6, Timeout: o.Timeout}
}
