// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// direct is a TURN client as small as the probe needs it (RFC 8656), which
// works over either family. It keeps nothing alive: a probe is shorter than any
// lifetime.
type direct struct {
	tap            *tap
	user, password string
	realm          stun.Realm
	nonce          stun.Nonce
	peer           netip.AddrPort // of the channel
	lived          bool           // there is an allocation to give back

	lifetime time.Duration // of the allocation, as the server granted it

	mu      sync.Mutex
	pending map[[stun.TransactionIDSize]byte]chan *stun.Message
	data    chan []byte
	// handle, if set, takes payloads instead of data, in the reader's goroutine
	// and only until it returns.
	handle func(payload []byte)
}

const (
	channelNumber = 0x4000
	udpProtocol   = 17 // REQUESTED-TRANSPORT
	firstRTO      = 200 * time.Millisecond
)

func newDirect(t *tap, o Options, handle func(payload []byte)) *direct {
	d := &direct{tap: t, user: o.User, password: o.Password, handle: handle, data: make(chan []byte, 1024),
		pending: make(map[[stun.TransactionIDSize]byte]chan *stun.Message)}
	go d.read()
	return d
}

// read sorts what comes until the socket closes.
func (d *direct) read() {
	b := make([]byte, 1<<16)
	for {
		n, _, err := d.tap.ReadFrom(b)
		if err != nil {
			return
		}
		if n >= 4 && b[0]>>6 == 1 {
			number, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
			if number == channelNumber && length <= n-4 {
				d.deliver(b[4 : 4+length])
			}
			continue
		}
		m := new(stun.Message)
		if stun.Decode(b[:n], m) != nil {
			continue
		}
		if m.Type == stun.NewType(stun.MethodData, stun.ClassIndication) {
			if payload, err := m.Get(stun.AttrData); err == nil {
				d.deliver(payload)
			}
			continue
		}
		d.mu.Lock()
		if waiting := d.pending[m.TransactionID]; waiting != nil {
			delete(d.pending, m.TransactionID)
			waiting <- m
		}
		d.mu.Unlock()
	}
}

func (d *direct) deliver(payload []byte) {
	if d.handle != nil {
		d.handle(payload)
		return
	}
	select {
	case d.data <- append([]byte(nil), payload...):
	default: // nobody reads: lost, like in a full socket queue
	}
}

// transact sends a request until it is answered (RFC 8489 §6.2.1) or the tap
// closes.
func (d *direct) transact(m *stun.Message) (*stun.Message, error) {
	answer := make(chan *stun.Message, 1)
	d.mu.Lock()
	d.pending[m.TransactionID] = answer
	d.mu.Unlock()
	for rto := firstRTO; ; rto *= 2 {
		if _, err := d.tap.WriteTo(m.Raw, nil); err != nil {
			return nil, err
		}
		timer := time.NewTimer(rto)
		select {
		case response := <-answer:
			timer.Stop()
			return response, nil
		case <-timer.C:
		case <-d.tap.ctx.Done():
			timer.Stop()
			return nil, context.Cause(d.tap.ctx)
		}
	}
}

// request is transact with the long-term credential mechanism (RFC 8489 §9.2):
// the server's first answer names realm and nonce, and a stale nonce is
// replaced.
func (d *direct) request(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	for range 3 {
		setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attributes...)
		var key stun.MessageIntegrity
		if len(d.nonce) > 0 {
			key = stun.NewLongTermIntegrity(d.user, d.realm.String(), d.password)
			setters = append(setters, stun.NewUsername(d.user), d.realm, d.nonce, key)
		}
		m, err := stun.Build(append(setters, stun.Fingerprint)...)
		if err != nil {
			return nil, err
		}
		response, err := d.transact(m)
		if err != nil {
			return nil, err
		}
		if response.Type.Class == stun.ClassSuccessResponse {
			if key != nil && method != stun.MethodBinding {
				if err := key.Check(response); err != nil {
					return nil, fmt.Errorf("the answer to %s is not from who knows the password: %w", method, err)
				}
			}
			return response, nil
		}
		var code stun.ErrorCodeAttribute
		_ = code.GetFrom(response)
		challenge := code.Code == stun.CodeUnauthorized && key == nil || code.Code == stun.CodeStaleNonce
		if !challenge {
			return nil, fmt.Errorf("%s refused: %s", method, code)
		}
		if err := response.Parse(&d.realm, &d.nonce); err != nil {
			return nil, fmt.Errorf("%s: a challenge without realm and nonce: %w", method, err)
		}
		d.realm = append(stun.Realm(nil), d.realm...)
		d.nonce = append(stun.Nonce(nil), d.nonce...)
	}
	return nil, fmt.Errorf("%s: challenged again and again", method)
}

func (d *direct) binding() (netip.AddrPort, error) {
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.Fingerprint)
	if err != nil {
		return netip.AddrPort{}, err
	}
	response, err := d.transact(m)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return address(response, stun.AttrXORMappedAddress)
}

func (d *direct) allocate() (netip.AddrPort, error) { return d.allocateWith() }

func (d *direct) allocateWith(more ...stun.Setter) (netip.AddrPort, error) {
	transport := stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{udpProtocol, 0, 0, 0}}
	response, err := d.request(stun.MethodAllocate, append(more, transport)...)
	if err != nil {
		return netip.AddrPort{}, err
	}
	d.lived = true
	if v, err := response.Get(stun.AttrLifetime); err == nil && len(v) == 4 {
		d.lifetime = time.Duration(binary.BigEndian.Uint32(v)) * time.Second
	}
	return address(response, stun.AttrXORRelayedAddress)
}

func address(m *stun.Message, attribute stun.AttrType) (netip.AddrPort, error) {
	var a stun.XORMappedAddress
	if err := a.GetFromAs(m, attribute); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s without a good %s: %w", m.Type, attribute, err)
	}
	return addrPort(&net.UDPAddr{IP: a.IP, Port: a.Port}), nil
}

type peerAddress netip.AddrPort

func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

func (d *direct) permit(peer netip.AddrPort) error {
	_, err := d.request(stun.MethodCreatePermission, peerAddress(peer))
	return err
}

func (d *direct) bind(_ context.Context, peer netip.AddrPort) error {
	if err := d.channel(peer); err != nil {
		return err
	}
	d.peer = peer
	return d.send(warmUp, peer)
}

// channel binds the channel or refreshes it, and the permission with it
// (RFC 8656 §12.1).
func (d *direct) channel(peer netip.AddrPort) error {
	number := stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{channelNumber >> 8, channelNumber & 0xff, 0, 0}}
	_, err := d.request(stun.MethodChannelBind, number, peerAddress(peer))
	return err
}

func (d *direct) send(payload []byte, _ netip.AddrPort) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 4+len(payload)), channelNumber)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	_, err := d.tap.WriteTo(append(b, payload...), nil)
	return err
}

func (d *direct) receive(into []byte) (int, netip.AddrPort, error) {
	select {
	case b := <-d.data:
		return copy(into, b), d.peer, nil
	case <-d.tap.ctx.Done():
		return 0, netip.AddrPort{}, context.Cause(d.tap.ctx)
	}
}

// close gives the allocation back without waiting for the answer: it would end
// by itself.
func (d *direct) close() {
	if d.lived {
		m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest),
			stun.RawAttribute{Type: stun.AttrLifetime, Value: []byte{0, 0, 0, 0}},
			stun.NewUsername(d.user), d.realm, d.nonce,
			stun.NewLongTermIntegrity(d.user, d.realm.String(), d.password), stun.Fingerprint)
		if err == nil {
			_, _ = d.tap.WriteTo(m.Raw, nil)
		}
	}
	d.tap.Close()
}
