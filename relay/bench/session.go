// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// headerSize is that of a ChannelData message (RFC 8656 §12.4).
const headerSize = 4

// stampSize is the part of a payload that is ours: when it was sent, and in
// which trial, so that stragglers of an earlier one are not counted.
const stampSize = 16

var (
	epoch  = time.Now()
	trials atomic.Uint64
)

// nextTrial is a number that no packet carries yet; never 0.
func nextTrial() uint64 { return trials.Add(1) }

// stamp marks a payload.
func stamp(payload []byte, trial uint64) {
	binary.LittleEndian.PutUint64(payload, uint64(time.Since(epoch)))
	binary.LittleEndian.PutUint64(payload[8:], trial)
}

// stamped reads the mark: how long ago, in which trial.
func stamped(payload []byte) (time.Duration, uint64) {
	return time.Since(epoch) - time.Duration(binary.LittleEndian.Uint64(payload)), binary.LittleEndian.Uint64(payload[8:])
}

// flow is one client's way to the peer and back.
type flow struct {
	fd             int
	local, relayed netip.AddrPort // without a relay, local is both
	turn           *turnClient    // where there is an allocation to give back
}

// session is a contestant's turn: its flows, set up and proven to work.
type session struct {
	contestant *contestant
	flows      []flow
	framed     bool // clients speak ChannelData
	payload    int
}

// open sets the flows of a contestant up, and sees a datagram come back on each.
func (s *scene) open(c *contestant) (_ *session, err error) {
	p := &session{contestant: c, framed: c.host != nil, payload: s.options.payload}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	for i := range uint16(clients) {
		f, err := s.openFlow(c, i)
		p.flows = append(p.flows, f)
		if err != nil {
			return nil, fmt.Errorf("client %d: %w", i, err)
		}
	}
	for i, f := range p.flows {
		if err := p.ping(f.fd); err != nil {
			return nil, fmt.Errorf("client %d: %w", i, err)
		}
	}
	return p, nil
}

func (s *scene) openFlow(c *contestant, i uint16) (f flow, err error) {
	local := netip.AddrPortFrom(s.client.Addr(), 0)
	if c.fixed {
		local = on(s.client, clientPort+i)
	}
	to := on(s.peer, peerPort)
	if c.host != nil {
		to = on(c.host, listenPort)
	}
	if f.fd, err = openUDP(s.client, local, to); err != nil {
		return f, err
	}
	if f.local, err = localAddress(f.fd); err != nil {
		return f, err
	}
	switch {
	case c.host == nil:
		f.relayed = f.local
		return f, nil
	case c.fixed:
		f.relayed = on(c.host, relayedPort+i)
		return f, nil
	}
	t := &turnClient{fd: f.fd, user: c.user, password: c.password}
	if f.relayed, err = t.allocate(); err != nil {
		return f, err
	}
	f.turn = t
	return f, t.bind(channelNumber, on(s.peer, peerPort))
}

// datagram is what a client sends to the peer, and the part of it that the peer
// gets.
func (p *session) datagram() (whole, payload []byte) {
	if !p.framed {
		whole = make([]byte, p.payload)
		return whole, whole
	}
	whole = make([]byte, headerSize+p.payload)
	binary.BigEndian.PutUint16(whole, channelNumber)
	binary.BigEndian.PutUint16(whole[2:], uint16(p.payload))
	return whole, whole[headerSize:]
}

// unframe returns the payload of what a client received, or nil if it is none
// of ours.
func (p *session) unframe(b []byte) []byte {
	if p.framed {
		if len(b) < headerSize || b[0]>>6 != 1 || int(binary.BigEndian.Uint16(b[2:])) > len(b)-headerSize {
			return nil
		}
		b = b[headerSize : headerSize+int(binary.BigEndian.Uint16(b[2:]))]
	}
	if len(b) != p.payload {
		return nil
	}
	return b
}

// frames are those of the load, one a flow: what the clients would send to the
// relay, or the peer to the relayed transport addresses.
func (p *session) frames(s *scene, trial uint64, toPeer bool) [][]byte {
	whole, payload := p.datagram()
	stamp(payload, trial)
	if !toPeer {
		whole = payload
	}
	var frames [][]byte
	for _, f := range p.flows {
		from, to := at(f.local), at(on(s.peer, peerPort))
		to.mac = [6]byte(s.peer.Interfaces[0].MAC)
		if !toPeer {
			from, to = at(on(s.peer, peerPort)), at(f.relayed)
			to.mac = [6]byte(s.client.Interfaces[0].MAC)
		}
		if c := p.contestant; c.host != nil {
			if toPeer {
				to = at(on(c.host, listenPort))
			}
			to.mac = [6]byte(c.host.Interfaces[0].MAC)
		}
		// The bridge must not learn the client's or the peer's address here.
		from.mac = [6]byte(s.source.host.Interfaces[0].MAC)
		frames = append(frames, frame(from, to, whole))
	}
	return frames
}

func at(a netip.AddrPort) endpointAddress {
	return endpointAddress{address: a.Addr().As4(), port: a.Port()}
}

// ping sends until an answer comes.
func (p *session) ping(fd int) error {
	trial := nextTrial()
	out, payload := p.datagram()
	in := make([]byte, 2*len(out))
	for range requestTries {
		stamp(payload, trial)
		if err := transmit(fd, out); err != nil {
			return err
		}
		for end := time.Now().Add(requestPatience); time.Now().Before(end); {
			n, _, err := unix.Recvfrom(fd, in, 0)
			if err != nil {
				continue // nothing yet
			}
			if payload := p.unframe(in[:n]); payload != nil {
				if _, got := stamped(payload); got == trial {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("none of %d datagrams to the peer came back", requestTries)
}

// close gives the allocations back.
func (p *session) close() error {
	var errs []error
	for _, f := range p.flows {
		if f.turn != nil {
			errs = append(errs, f.turn.release())
		}
		if f.fd > 0 {
			errs = append(errs, unix.Close(f.fd))
		}
	}
	return errors.Join(errs...)
}
