// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
	"golang.org/x/sys/unix"
)

// turnClient is as much of a TURN client (RFC 8656) as a benchmark needs, on a
// connected socket: a real client would keep its socket to itself, and send one
// datagram a system call.
type turnClient struct {
	fd             int
	user, password string
	realm          stun.Realm
	nonce          stun.Nonce
}

// requestTries with requestPatience bound one request; a loaded machine or a
// server that is just starting may need a second one.
const (
	requestTries    = 20
	requestPatience = 250 * time.Millisecond
)

// binding asks for nothing but an answer.
func (c *turnClient) binding() error {
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		return err
	}
	_, err = c.transact(m)
	return err
}

// allocate returns the relayed transport address.
func (c *turnClient) allocate() (netip.AddrPort, error) {
	const udp = 17 // REQUESTED-TRANSPORT, RFC 8656 §18.8
	m, err := c.request(stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{udp, 0, 0, 0}})
	if err != nil {
		return netip.AddrPort{}, err
	}
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
		return netip.AddrPort{}, fmt.Errorf("the Allocate response's XOR-RELAYED-ADDRESS: %w", err)
	}
	addr, _ := netip.AddrFromSlice(relayed.IP)
	return netip.AddrPortFrom(addr.Unmap(), uint16(relayed.Port)), nil
}

// bind binds a channel to a peer, which permits the peer too.
func (c *turnClient) bind(channel uint16, peer netip.AddrPort) error {
	_, err := c.request(stun.MethodChannelBind,
		stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{byte(channel >> 8), byte(channel), 0, 0}}, xorPeer(peer))
	return err
}

// release deletes the allocation (RFC 8656 §8).
func (c *turnClient) release() error {
	_, err := c.request(stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: make([]byte, 4)})
	return err
}

type xorPeer netip.AddrPort

func (p xorPeer) AddTo(m *stun.Message) error {
	a := stun.XORMappedAddress{IP: netip.AddrPort(p).Addr().AsSlice(), Port: int(netip.AddrPort(p).Port())}
	return a.AddToAs(m, stun.AttrXORPeerAddress)
}

// request authenticates with the long-term credential mechanism (RFC 8489 §9.2).
func (c *turnClient) request(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	for range 3 {
		setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attributes...)
		if len(c.nonce) > 0 {
			setters = append(setters, stun.NewUsername(c.user), c.realm, c.nonce, stun.NewLongTermIntegrity(c.user, c.realm.String(), c.password))
		}
		m, err := stun.Build(setters...)
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", method, err)
		}
		response, err := c.transact(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		if response.Type.Class == stun.ClassSuccessResponse {
			return response, nil
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(response); err != nil {
			return nil, fmt.Errorf("%s was refused without a code: %w", method, err)
		}
		if code.Code != stun.CodeUnauthorized && code.Code != stun.CodeStaleNonce {
			return nil, fmt.Errorf("%s was refused: %s", method, code)
		}
		if err := c.realm.GetFrom(response); err != nil {
			return nil, fmt.Errorf("%s: the %d response's realm: %w", method, code.Code, err)
		}
		if err := c.nonce.GetFrom(response); err != nil {
			return nil, fmt.Errorf("%s: the %d response's nonce: %w", method, code.Code, err)
		}
	}
	return nil, fmt.Errorf("%s: refused the credential of %s", method, c.user)
}

// transact sends a request until its answer comes, and skips all else.
func (c *turnClient) transact(m *stun.Message) (*stun.Message, error) {
	b := make([]byte, 2048)
	for range requestTries {
		if err := transmit(c.fd, m.Raw); err != nil {
			return nil, err
		}
		for end := time.Now().Add(requestPatience); time.Now().Before(end); {
			n, _, err := unix.Recvfrom(c.fd, b, 0)
			if err == unix.EAGAIN || err == unix.EINTR {
				continue
			}
			if err == unix.ECONNREFUSED { // not listening yet
				time.Sleep(requestPatience / 10)
				break
			}
			if err != nil {
				return nil, fmt.Errorf("receiving: %w", err)
			}
			if !stun.IsMessage(b[:n]) {
				continue
			}
			response := &stun.Message{Raw: append([]byte(nil), b[:n]...)}
			if response.Decode() == nil && response.TransactionID == m.TransactionID {
				return response, nil
			}
		}
	}
	return nil, fmt.Errorf("no answer to %d requests in %s", requestTries, requestTries*requestPatience)
}
