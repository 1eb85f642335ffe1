// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/logs"
	"plumbline/relay/turn"
)

// Options of a Datapath.
type Options struct {
	// Listen are the addresses that clients send to. An unspecified address
	// listens on all of its family, and answers come from the address that
	// was asked. Port 0 takes a free port, see Datapath.Local.
	Listen []netip.AddrPort
	// Control takes every STUN message that is not a Send indication. It is
	// called from reader goroutines, several at once, and must not block. The
	// bytes are valid until release is called, which must happen once. False
	// means that there is no room: the datagram is counted as dropped
	// (control_queue_full), and release must not be called.
	Control func(from turn.FiveTuple, datagram []byte, release func()) bool
	// Now is the clock that expiries are held against; default time.Now.
	Now func() time.Time
	// ReadBuffer and WriteBuffer ask for the sockets' queues in bytes, within
	// net.core.rmem_max (unless this process has CAP_NET_ADMIN) and wmem_max; 0 leaves the kernel's defaults.
	ReadBuffer, WriteBuffer int
}

// A Datapath relays in user space. All methods are safe for concurrent use.
type Datapath struct {
	options   Options
	listeners []*socket
	workers   sync.Pool // *worker
	senders   sync.Pool // *sender
	messages  sync.Pool // *message

	// What data packets read, without a lock.
	byTuple   shards[turn.FiveTuple, *allocation]
	byRelayed shards[netip.AddrPort, *allocation]
	byPublic  shards[netip.AddrPort, *allocation]
	own       atomic.Pointer[map[netip.Addr]struct{}] // every relayed IP, local or public

	mu       sync.Mutex // guards what follows; taken before any ledger's or socket's lock
	serving  bool
	closed   bool
	readers  sync.WaitGroup
	live     map[string]*allocation
	bound    map[netip.AddrPort]*socket
	open     map[*socket]struct{} // sockets whose counters are not in retired
	retired  account
	ended    []FlowStat
	endedSum map[sumKey]logs.Traffic
}

// New opens the listen sockets. Nothing is read before Serve.
func New(options Options) (*Datapath, error) {
	if options.Control == nil {
		return nil, errors.New("the user-space data path needs a taker of control messages")
	}
	if len(options.Listen) == 0 {
		return nil, errors.New("the user-space data path needs an address to listen on")
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	d := &Datapath{
		options:  options,
		live:     make(map[string]*allocation),
		bound:    make(map[netip.AddrPort]*socket),
		open:     make(map[*socket]struct{}),
		endedSum: make(map[sumKey]logs.Traffic),
	}
	mix := newMixer()
	d.byTuple.hash, d.byRelayed.hash, d.byPublic.hash = mix.tuple, mix.address, mix.address
	d.own.Store(&map[netip.Addr]struct{}{})
	d.workers.New = func() any { return newWorker() }
	d.senders.New = func() any { s := new(sender); s.init(); return s }
	d.messages.New = func() any { return d.newMessage() }
	for _, address := range options.Listen {
		s, err := listen(address, options)
		if err != nil {
			d.closeSockets()
			return nil, err
		}
		d.listeners = append(d.listeners, s)
		d.open[s] = struct{}{}
	}
	return d, nil
}

// Local are the addresses that the listen sockets are bound to, in the order of
// Options.Listen.
func (d *Datapath) Local() []netip.AddrPort {
	local := make([]netip.AddrPort, len(d.listeners))
	for i, s := range d.listeners {
		local[i] = s.local
	}
	return local
}

// Serve reads the listen sockets until ctx ends or Close is called, then closes
// every socket and waits for the readers. Flows and Counters may still be asked
// after it, for the final sums. It can be called once.
func (d *Datapath) Serve(ctx context.Context) error {
	d.mu.Lock()
	if d.serving || d.closed {
		d.mu.Unlock()
		return errors.New("the user-space data path has been served or closed before")
	}
	d.serving = true
	for _, l := range d.listeners {
		d.readers.Add(1)
		go d.readClients(l)
	}
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, d.closeSockets)
	defer stop()
	d.readers.Wait()
	return d.Close()
}

// Close closes every socket and waits for the readers. It may be called more
// than once.
func (d *Datapath) Close() error {
	d.closeSockets()
	d.readers.Wait()
	return nil
}

func (d *Datapath) closeSockets() {
	d.mu.Lock()
	d.closed = true
	clear(d.bound)
	open := slices.Collect(maps.Keys(d.open))
	serving := d.serving
	d.mu.Unlock()
	for _, s := range open {
		s.close()
		if s.listener && !serving { // it has no reader that would do it
			d.retire(s)
		}
	}
}

// retire moves a socket's counters to those of closed sockets.
func (d *Datapath) retire(s *socket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, is := d.open[s]; is {
		d.retired.add(s.read())
		delete(d.open, s)
	}
}

// Send answers a client from the address that it asked. The payload is not
// kept. After Close the error is net.ErrClosed.
func (d *Datapath) Send(to turn.FiveTuple, payload []byte) error {
	l := d.listenerFor(to.Server)
	if l == nil {
		return fmt.Errorf("answer %s from %s: the relay does not listen there", to.Client, to.Server)
	}
	s := d.senders.Get().(*sender)
	errno := s.send(l.raw, to.Client, l.source(to.Server), payload)
	d.senders.Put(s)
	switch errno {
	case 0:
		return nil
	case unix.EBADF:
		return fmt.Errorf("answer %s from %s: %w", to.Client, to.Server, net.ErrClosed)
	default:
		return fmt.Errorf("answer %s from %s with %d bytes: %w", to.Client, to.Server, len(payload), errno)
	}
}

// listenerFor is the socket that datagrams to server arrive at: a specific
// address goes before a wildcard, as in the kernel's look-up.
func (d *Datapath) listenerFor(server netip.AddrPort) *socket {
	var wildcard *socket
	for _, l := range d.listeners {
		switch {
		case l.local == server:
			return l
		case l.wildcard && l.local.Port() == server.Port() && l.local.Addr().Is4() == server.Addr().Is4():
			wildcard = l
		}
	}
	return wildcard
}

// A message carries a control message to the core. Its buffer comes back to the
// pool by release.
type message struct {
	bytes   [maxControl]byte
	release func()
}

// maxControl is the longest control message that is passed on. The longest that
// RFC 8489 and RFC 8656 allow, with user name, realm and nonce at their limits,
// stay under 3 KiB.
const maxControl = 4096

func (d *Datapath) newMessage() *message {
	m := new(message)
	m.release = func() { d.messages.Put(m) }
	return m
}
