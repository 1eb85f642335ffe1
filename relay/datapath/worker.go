// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	crand "crypto/rand"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/relay/turn"
)

// batch is how many datagrams one socket may have handled before its reader
// steps back for the others.
const batch = 64

// A worker is what handling a packet takes: room for the datagram that came,
// room for the one that leaves, and the system calls' arguments. There are as
// many as readers that are busy at the same time, not as many as sockets.
type worker struct {
	in  [maxDatagram]byte
	out [maxDatagram + turn.DataOverhead]byte
	rx  receiver
	tx  sender
	// random is for the transaction ids of Data indications.
	random *rand.ChaCha8
}

func newWorker() *worker {
	w := new(worker)
	w.tx.init()
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	w.random = rand.NewChaCha8(seed)
	return w
}

// readClients reads a listen socket until it is closed.
func (d *Datapath) readClients(s *socket) {
	defer d.readers.Done()
	defer d.retire(s)
	d.read(s, d.fromClient)
}

// readPeers reads the socket of a relayed transport address until it is closed.
func (d *Datapath) readPeers(s *socket) {
	defer d.readers.Done()
	defer d.retire(s)
	d.read(s, d.fromPeer)
}

// read hands every datagram of a socket to handle. The function below is called
// when the socket is readable (and once at first), takes a worker only then,
// and keeps none while it waits.
func (d *Datapath) read(s *socket, handle func(*socket, *worker, int) outcome) {
	step := func(fd uintptr) (stop bool) {
		w := d.workers.Get().(*worker)
		defer d.workers.Put(w)
		for range batch {
			n, errno := w.rx.receive(fd, w.in[:])
			switch {
			case errno == unix.EAGAIN:
				return false
			case errno != 0:
				// An ICMP error of something sent earlier, or a shortage of
				// memory: no datagram was read, and the socket is fine.
			default:
				s.count(handle(s, w, n))
			}
			if s.closed.Load() {
				break
			}
		}
		return true
	}
	for {
		err := s.raw.Read(step)
		switch {
		case s.closed.Load():
			return
		case err != nil:
			// The poller saw nothing but an error on the socket; reading has
			// cleared it, or will.
			time.Sleep(time.Millisecond)
		default:
			runtime.Gosched() // a whole batch: others may be waiting
		}
	}
}
