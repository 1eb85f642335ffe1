// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"

	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
	"github.com/pion/turn/v3"
)

// pion is the independent client.
type pion struct {
	tap    *tap
	client *turn.Client
	relay  net.PacketConn
}

func newPion(t *tap, server netip.AddrPort, o Options) (*pion, error) {
	c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: server.String(), TURNServerAddr: server.String(),
		Username: o.User, Password: o.Password, Conn: t})
	if err != nil {
		return nil, err
	}
	if err := c.Listen(); err != nil {
		return nil, err
	}
	// Its calls end with their transactions only.
	context.AfterFunc(t.ctx, c.Close)
	return &pion{tap: t, client: c}, nil
}

func (p *pion) binding() (netip.AddrPort, error) {
	a, err := p.client.SendBindingRequest()
	return addrPort(a), err
}

func (p *pion) allocate() (netip.AddrPort, error) {
	relay, err := p.client.Allocate()
	if err != nil {
		return netip.AddrPort{}, err
	}
	p.relay = relay
	return addrPort(relay.LocalAddr()), nil
}

func (p *pion) permit(peer netip.AddrPort) (err error) {
	for range 3 { // a stale nonce is renewed, but not tried again
		err = p.client.CreatePermission(net.UDPAddrFromAddrPort(peer))
		if _, refusal, _ := p.tap.response(stun.MethodCreatePermission); refusal == nil || refusal.Code != stun.CodeStaleNonce {
			return err
		}
	}
	return err
}

// bind makes the client bind a channel, which it does when data is sent for the
// first time, and sends until data goes out by it.
func (p *pion) bind(ctx context.Context, peer netip.AddrPort) error {
	before := p.tap.seen().channelOut
	for {
		granted, refusal, next := p.tap.response(stun.MethodChannelBind)
		if refusal != nil {
			return fmt.Errorf("channel refused: %d %s", refusal.Code, refusal.Reason)
		}
		if err := p.send(warmUp, peer); err != nil {
			return err
		}
		if p.tap.seen().channelOut > before {
			return nil
		}
		// After the response the client still has to note it.
		pause := time.Second
		if granted {
			pause = time.Millisecond
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-next:
		case <-time.After(pause):
		}
	}
}

func (p *pion) send(payload []byte, peer netip.AddrPort) error {
	_, err := p.relay.WriteTo(payload, net.UDPAddrFromAddrPort(peer))
	return err
}

func (p *pion) receive(into []byte) (int, netip.AddrPort, error) {
	n, from, err := p.relay.ReadFrom(into)
	return n, addrPort(from), err
}

func (p *pion) close() {
	if p.relay != nil {
		p.relay.Close() // sends a Refresh with lifetime 0
	}
	p.client.Close()
	p.tap.Close()
}

func addrPort(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok || u == nil {
		return netip.AddrPort{}
	}
	p := u.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
