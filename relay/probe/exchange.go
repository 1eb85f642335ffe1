// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// payloadSize is that of an audio packet: 20 ms of G.711 in RTP.
const payloadSize = 172

// warmUp is what is sent before the measurement; it is no ping.
var warmUp = []byte("plumbline warm-up!")

// A ping is the 16 bytes that identify the run, its number, and padding that
// is checked on the way back.
const headerSize = 16 + 4

type pings struct {
	run [16]byte

	mu      sync.Mutex
	sentAt  []time.Time
	took    []time.Duration // 0: not back yet
	reached map[uint32]bool // the other end
	back    int
	done    chan struct{} // closed when all are back
}

func (p *pings) payload(i int) []byte {
	b := make([]byte, payloadSize)
	copy(b, p.run[:])
	binary.BigEndian.PutUint32(b[16:], uint32(i))
	for j := headerSize; j < len(b); j++ {
		b[j] = byte(i + j)
	}
	return b
}

// number is the ping that b is, unharmed.
func (p *pings) number(b []byte) (uint32, bool) {
	if len(b) != payloadSize || !bytes.Equal(b[:16], p.run[:]) {
		return 0, false
	}
	i := binary.BigEndian.Uint32(b[16:])
	return i, bytes.Equal(b, p.payload(int(i)))
}

// exchange sends pings from the first end to the second, which sends them back,
// and fills in what came of it.
func exchange(ctx context.Context, o Options, ends [2]end, result *Result) error {
	p := &pings{sentAt: make([]time.Time, o.Count), took: make([]time.Duration, o.Count),
		reached: make(map[uint32]bool), done: make(chan struct{})}
	crand.Read(p.run[:]) // never fails
	var before [2]traffic
	for i, e := range ends {
		before[i] = e.seen()
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	defer func() { // ends the readers
		for _, e := range ends {
			e.close()
		}
	}()
	readers.Go(func() { p.echo(ends[1], result) })
	readers.Go(func() { p.collect(ends[0]) })

	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := range o.Count {
		p.mu.Lock()
		p.sentAt[i] = time.Now()
		p.mu.Unlock()
		if err := ends[0].send(p.payload(i), result.Relayed[1].AddrPort); err != nil {
			p.report(result, i)
			return fmt.Errorf("%w: sending datagram %d of %d: %w", ErrUnreachable, i+1, o.Count, gone(ctx, ends[0], err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.report(result, i+1)
			return ctx.Err()
		}
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.report(result, o.Count)
		return ctx.Err()
	case <-ends[0].ctx.Done():
	case <-ends[1].ctx.Done():
	case <-time.After(o.Timeout):
	}
	p.report(result, o.Count)
	for _, e := range ends {
		if cause := context.Cause(e.ctx); cause != nil {
			return fmt.Errorf("%w: %s went away while datagrams were under way: %w", ErrUnreachable, result.Server, cause)
		}
	}
	return judge(ends, before, result)
}

// gone prefers the reason that a socket was closed for over "closed".
func gone(ctx context.Context, e end, err error) error {
	if cause := context.Cause(e.ctx); cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// echo sends every ping back, changed in nothing.
func (p *pings) echo(e end, result *Result) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := e.receive(b)
		if err != nil {
			return
		}
		if i, ok := p.number(b[:n]); ok {
			p.mu.Lock()
			p.reached[i] = true
			p.mu.Unlock()
			if e.send(b[:n], result.Relayed[0].AddrPort) != nil {
				return
			}
		}
	}
}

// collect notes when pings are back.
func (p *pings) collect(e end) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := e.receive(b)
		if err != nil {
			return
		}
		now := time.Now()
		i, ok := p.number(b[:n])
		if !ok || int(i) >= len(p.sentAt) {
			continue
		}
		p.mu.Lock()
		if p.took[i] == 0 { // a duplicate is no second echo
			p.took[i] = max(now.Sub(p.sentAt[i]), 1)
			if p.back++; p.back == len(p.took) {
				close(p.done)
			}
		}
		p.mu.Unlock()
	}
}

func (p *pings) report(result *Result, sent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	result.Sent, result.Reached, result.Received = sent, len(p.reached), p.back
	result.Lost = sent - p.back
	result.times(p.took)
}

// judge decides whether what was seen is a healthy relay.
func judge(ends [2]end, before [2]traffic, result *Result) error {
	indications := 0
	for i, e := range ends {
		now := e.seen()
		result.ChannelData += now.channelIn - before[i].channelIn
		indications += now.indicationIn - before[i].indicationIn
	}
	switch {
	case indications > 0:
		return fmt.Errorf("%w: %d of %d datagrams came in Data indications although both channels are bound; "+
			"the relay lost a channel or never used it", ErrNoChannel, indications, indications+result.ChannelData)
	case result.Lost == 0:
		return nil
	case result.Reached == 0:
		return fmt.Errorf("%w: none of %d reached the other allocation; both channels are bound, so the relay accepted "+
			"what it does not carry: check a firewall between the relayed ports, the public and local address (1:1 NAT), and the relay's drops by reason",
			ErrLoss, result.Sent)
	}
	return fmt.Errorf("%w: %d of %d, %d on the way there and %d on the way back; check the relay's drops by reason and the load of the hosts",
		ErrLoss, result.Lost, result.Sent, result.Sent-result.Reached, result.Reached-result.Received)
}
