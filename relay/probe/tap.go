// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"
	"golang.org/x/sys/unix"
)

var (
	errNobodyListens = errors.New("the host answered that the port is closed (ICMP)")
	errNoAnswer      = errors.New("no answer in time")
)

// A tap is a client's socket, connected to the server, that keeps an account of
// what passes. Being connected, it learns of ICMP errors.
type tap struct {
	net.Conn
	server net.Addr
	ctx    context.Context // ends with the socket; its cause says why
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	traffic  traffic
	refusals map[stun.Method]stun.ErrorCodeAttribute
	granted  map[stun.Method]bool
	change   chan struct{} // closed and replaced when a response came
}

// traffic counts data messages of each kind; of those that came in, not the
// warm-ups, which may come before the other end has its channel.
type traffic struct{ channelOut, channelIn, indicationOut, indicationIn int }

func newTap(ctx context.Context, server netip.AddrPort) (*tap, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	t := &tap{Conn: conn, server: conn.RemoteAddr(), refusals: map[stun.Method]stun.ErrorCodeAttribute{},
		granted: map[stun.Method]bool{}, change: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(t.ctx, func() { conn.Close() })
	return t, nil
}

// ReadFrom and WriteTo make the tap a net.PacketConn. The address is always the
// server's.
func (t *tap) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, err := t.Conn.Read(b)
		if errors.Is(err, unix.ECONNREFUSED) {
			t.cancel(errNobodyListens)
			continue // the socket is closed now, or about to be
		}
		if err == nil {
			t.account(b[:n], false)
		}
		return n, t.server, err
	}
}

func (t *tap) WriteTo(b []byte, _ net.Addr) (int, error) {
	n, err := t.Conn.Write(b)
	if errors.Is(err, unix.ECONNREFUSED) {
		t.cancel(errNobodyListens)
	}
	if err == nil {
		t.account(b, true)
	}
	return n, err
}

func (t *tap) Close() error {
	t.cancel(net.ErrClosed)
	return nil
}

func (t *tap) account(b []byte, out bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(b) >= 4 && b[0]>>6 == 1 {
		if out {
			t.traffic.channelOut++
		} else if !bytes.HasPrefix(b[4:], warmUp) { // padding may follow
			t.traffic.channelIn++
		}
		return
	}
	m := new(stun.Message)
	if stun.Decode(b, m) != nil {
		return
	}
	switch m.Type.Class {
	case stun.ClassIndication:
		if out {
			t.traffic.indicationOut++
		} else if data, err := m.Get(stun.AttrData); err == nil && !bytes.Equal(data, warmUp) {
			t.traffic.indicationIn++
		}
	case stun.ClassErrorResponse:
		var code stun.ErrorCodeAttribute
		_ = code.GetFrom(m) // without one it is a refusal all the same
		code.Reason = append([]byte(nil), code.Reason...)
		t.refusals[m.Type.Method] = code
		close(t.change)
		t.change = make(chan struct{})
	case stun.ClassSuccessResponse:
		delete(t.refusals, m.Type.Method)
		t.granted[m.Type.Method] = true
		close(t.change)
		t.change = make(chan struct{})
	}
}

// seen is what passed so far.
func (t *tap) seen() traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.traffic
}

// response says how the last response to a method was, and gives a channel that
// is closed when another one comes.
func (t *tap) response(m stun.Method) (granted bool, refusal *stun.ErrorCodeAttribute, next <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if code, refused := t.refusals[m]; refused {
		refusal = &code
	}
	return t.granted[m], refusal, t.change
}

// within runs a step that is given up after timeout, by closing the socket: the
// client's calls have no other end.
func (t *tap) within(timeout time.Duration, do func() error) error {
	timer := time.AfterFunc(timeout, func() { t.cancel(errNoAnswer) })
	defer timer.Stop()
	return do()
}
