// SPDX-License-Identifier: Apache-2.0

// Package probe checks a TURN relay end to end from outside, over UDP: it makes
// two allocations, binds a channel from each to the other, and lets datagrams
// go there and back through both. What it reports was seen on its own sockets;
// it asks the relay for nothing but TURN.
//
// Over IPv4 an independent client drives it, github.com/pion/turn. That client
// speaks IPv4 only, so over IPv6 a small one of this package does. Either sits
// on a tap that tells ChannelData from indications, because a client that
// silently falls back to indications would make a relay look healthy whose
// channels don't work.
package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// DefaultPort is where TURN over UDP listens (RFC 8656 §3.1).
const DefaultPort = "3478"

// Options of a Run.
type Options struct {
	Server         string // host or address, with or without a port
	User, Password string
	IPv6           bool // reach the server over IPv6; relayed addresses are IPv4 either way
	Count          int  // datagrams to send; 0: 20
	// Timeout is how long to wait for any one answer, and for the last echoes;
	// 0: 3 s.
	Timeout time.Duration
}

// interval is the pause between datagrams: a hundred a second, like two audio
// streams.
const interval = 10 * time.Millisecond

// A client is one TURN client with one allocation.
type client interface {
	// binding asks for the client's address as the server sees it.
	binding() (netip.AddrPort, error)
	allocate() (relayed netip.AddrPort, err error)
	permit(peer netip.AddrPort) error
	// bind returns when what is sent to peer goes out as ChannelData.
	bind(ctx context.Context, peer netip.AddrPort) error
	send(payload []byte, peer netip.AddrPort) error
	// receive waits for the next payload of any peer.
	receive(into []byte) (n int, peer netip.AddrPort, err error)
	// close gives the allocation back and closes the socket.
	close()
}

// Run probes a relay. The result holds what was found until an error ended it.
// The error is one of this package's, or ctx's; lost datagrams are an error too
// (ErrLoss).
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Count <= 0 {
		o.Count = 20
	}
	if o.Timeout <= 0 {
		o.Timeout = 3 * time.Second
	}
	result := Result{Server: o.Server, Transport: "udp4", User: o.User}
	if o.IPv6 {
		result.Transport = "udp6"
	}
	err := run(ctx, o, &result)
	result.OK = err == nil
	if err != nil {
		result.Error = err.Error()
	}
	return result, err
}

func run(ctx context.Context, o Options, result *Result) error {
	server, err := resolve(ctx, o, result.Transport)
	if err != nil {
		return err
	}
	result.Server = server.String()

	var ends [2]end
	for i := range ends {
		e, err := open(ctx, server, o)
		if err != nil {
			return err
		}
		defer e.close()
		ends[i] = e
	}
	steps := []struct {
		name string
		do   func(e end, i int) error
	}{
		{stepBinding, func(e end, i int) (err error) { result.Mapped[i].AddrPort, err = e.binding(); return err }},
		{stepAllocate, func(e end, i int) (err error) { result.Relayed[i].AddrPort, err = e.allocate(); return err }},
		{stepPermission, func(e end, i int) error { return e.permit(result.Relayed[1-i].AddrPort) }},
		{stepChannel, func(e end, i int) error { return e.bind(e.ctx, result.Relayed[1-i].AddrPort) }},
	}
	for _, step := range steps {
		for i, e := range ends {
			if err := e.within(o.Timeout, func() error { return step.do(e, i) }); err != nil {
				return e.explain(ctx, step.name, result, i, err)
			}
		}
	}
	return exchange(ctx, o, ends, result)
}

// resolve finds the server's address.
func resolve(ctx context.Context, o Options, network string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(o.Server)
	if err != nil {
		host, port = o.Server, DefaultPort
		if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
			host = host[1 : len(host)-1]
		}
	}
	family, lookup := "IPv4", "ip4"
	if o.IPv6 {
		family, lookup = "IPv6", "ip6"
	}
	number, err := net.DefaultResolver.LookupPort(ctx, network, port)
	if err != nil || host == "" {
		return netip.AddrPort{}, fmt.Errorf("%w: %q is no HOST:PORT", ErrUnreachable, o.Server)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, lookup, host)
	if err != nil || len(addrs) == 0 {
		if err == nil {
			err = fmt.Errorf("no address")
		}
		return netip.AddrPort{}, fmt.Errorf("%w: looking up an %s address of %q: %w; check the name%s",
			ErrUnreachable, family, host, err, otherFamily(o.IPv6))
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), nil
}

func otherFamily(ipv6 bool) string {
	if ipv6 {
		return ", or probe over IPv4 without --ipv6"
	}
	return ", or probe over IPv6 with --ipv6"
}

// An end is a client with its socket.
type end struct {
	client
	*tap
}

func (e end) close() { e.client.close() }

// open makes one end: a socket on a fresh port, and a client on it.
func open(ctx context.Context, server netip.AddrPort, o Options) (end, error) {
	t, err := newTap(ctx, server)
	if err != nil {
		return end{}, fmt.Errorf("%w: opening a UDP socket to %s: %w; check this host's routes%s", ErrUnreachable, server, err, otherFamily(o.IPv6))
	}
	var c client
	if o.IPv6 {
		c = newDirect(t, o, nil)
	} else if c, err = newPion(t, server, o); err != nil {
		t.Close()
		return end{}, fmt.Errorf("starting a TURN client: %w", err)
	}
	return end{c, t}, nil
}
