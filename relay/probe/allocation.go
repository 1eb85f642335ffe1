// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/relay/datapath"
)

// readBuffer is an Allocation's socket queue in bytes, where the kernel lets it.
const readBuffer = 4 << 20

// An Allocation is one allocation on a relay with one channel, on a socket of
// its own, held by this package's client. Its requests (Bind, KeepAlive) are for
// one goroutine at a time, and so is Send; these may be two.
type Allocation struct {
	d                    *direct
	server, local, relay netip.AddrPort
	peer                 netip.AddrPort
	timeout              time.Duration
	out                  []byte
	dropped              func() uint64
}

// Allocate makes an allocation of the family (RFC 8656 §18.6) that peers on
// this address can be reached from; without one, peers on the local address
// that reaches the server. Payloads by the channel go to handle, one at a time,
// and are its own only until it returns. The socket lives until ctx ends or
// Close. Errors are of this package, or ctx's.
func Allocate(ctx context.Context, o Options, peers netip.Addr, handle func(payload []byte)) (*Allocation, error) {
	network := "udp4"
	if o.IPv6 {
		network = "udp6"
	}
	server, err := resolve(ctx, o, network)
	if err != nil {
		return nil, err
	}
	t, err := newTap(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("%w: opening a UDP socket to %s: %w; check this host's routes and `ulimit -n`", ErrUnreachable, server, err)
	}
	a := &Allocation{server: server, local: addrPort(t.LocalAddr()), timeout: o.Timeout, dropped: func() uint64 { return 0 }}
	if conn, ok := t.Conn.(*net.UDPConn); ok {
		if raw, err := conn.SyscallConn(); err == nil {
			a.dropped = func() uint64 { return datapath.QueueDrops(raw) }
		}
		_ = datapath.SetReadBuffer(conn, readBuffer) // a smaller queue serves too; what it drops is counted
	}
	a.d = newDirect(t, o, handle)
	if !peers.IsValid() {
		peers = a.local.Addr()
	}
	family := byte(1) // IPv4
	if peers.Is6() {
		family = 2
	}
	err = a.within(ctx, stepAllocate, func() (err error) {
		a.relay, err = a.d.allocateWith(stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{family, 0, 0, 0}})
		return err
	})
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Server is the relay's address.
func (a *Allocation) Server() netip.AddrPort { return a.server }

// Local is the client's address.
func (a *Allocation) Local() netip.AddrPort { return a.local }

// Relayed is the relayed transport address.
func (a *Allocation) Relayed() netip.AddrPort { return a.relay }

// Lifetime is how long the allocation lives without a refresh, as the server
// granted it; 0 when it did not say.
func (a *Allocation) Lifetime() time.Duration { return a.d.lifetime }

// Bind binds the channel to a peer, which permits the peer too.
func (a *Allocation) Bind(ctx context.Context, peer netip.AddrPort) error {
	a.peer = peer
	return a.within(ctx, stepChannel, func() error { return a.d.channel(peer) })
}

// KeepAlive refreshes the allocation, the channel and the permission.
func (a *Allocation) KeepAlive(ctx context.Context) error {
	err := a.within(ctx, stepRefresh, func() error { _, err := a.d.request(stun.MethodRefresh); return err })
	if err != nil {
		return err
	}
	return a.Bind(ctx, a.peer)
}

// Send sends a payload by the channel.
func (a *Allocation) Send(payload []byte) error {
	a.out = binary.BigEndian.AppendUint16(a.out[:0], channelNumber)
	a.out = binary.BigEndian.AppendUint16(a.out, uint16(len(payload)))
	a.out = append(a.out, payload...)
	_, err := a.d.tap.WriteTo(a.out, nil)
	return err
}

// Indications is how many payloads came in Data indications although the
// channel is bound.
func (a *Allocation) Indications() int { return a.d.tap.seen().indicationIn }

// Dropped is how many datagrams this host dropped at the client's own socket,
// which are no loss of the relay's.
func (a *Allocation) Dropped() uint64 { return a.dropped() }

// Done is closed when the socket is; Cause then says why.
func (a *Allocation) Done() <-chan struct{} { return a.d.tap.ctx.Done() }

// Cause is why the socket was closed, for a person, or nil.
func (a *Allocation) Cause() error {
	cause := context.Cause(a.d.tap.ctx)
	if cause == nil {
		return nil
	}
	return fmt.Errorf("%w: %s went away: %w", ErrUnreachable, a.server, cause)
}

// Close gives the allocation back and closes the socket.
func (a *Allocation) Close() { a.d.close() }

// within does a step and says what went wrong with it.
func (a *Allocation) within(ctx context.Context, step string, do func() error) error {
	err := a.d.tap.within(a.timeout, do)
	if err == nil {
		return nil
	}
	_, refusal, _ := a.d.tap.response(methods[step])
	if refusal != nil && refusal.Code == stun.CodeForbidden {
		return fmt.Errorf("%w: %s for peer %s got 403 %s; loopback, private and special addresses are denied unless the relay's peers.allow names them: "+
			"add %s there, or choose another local address with --peer-address", ErrForbidden, step, a.peer, refusal.Reason, netip.PrefixFrom(a.peer.Addr(), a.peer.Addr().BitLen()))
	}
	if refusal != nil && refusal.Code == stun.CodeAllocQuotaReached {
		return fmt.Errorf("%w: %s got 486 %s: user %q holds as many allocations as it may; ask for fewer, wait until earlier ones expire, or raise allocations.per_user",
			ErrRefused, step, refusal.Reason, a.d.user)
	}
	if cause := context.Cause(a.d.tap.ctx); errors.Is(cause, errNoAnswer) && step == stepAllocate {
		return fmt.Errorf("%w: %s did not answer %s over UDP, sent several times; check the address, that the relay runs, "+
			"and that firewalls on the way let UDP to this port and back through", ErrUnreachable, a.server, step)
	}
	return a.d.tap.explain(ctx, step, &Result{Server: a.server.String(), User: a.d.user}, 0, err)
}
