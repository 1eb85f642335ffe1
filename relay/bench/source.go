// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"plumbline/relay/testbed"
)

// source is the load: a host that sends the clients' and the peer's frames in
// their name from packet sockets (packet(7)), past its own IP stack and queueing
// discipline. So more of the machine's time goes to the relay, and less to the
// load, than with a socket a client.
type source struct{ host *testbed.Host }

// run sends the frames in turn for d at a rate, from a thread a CPU, n at a time,
// and returns how many it sent in what time.
func (s *source) run(ctx context.Context, frames [][]byte, rate float64, n int, d time.Duration) (sent uint64, took time.Duration, err error) {
	threads := runtime.NumCPU()
	var wait sync.WaitGroup
	var mu sync.Mutex
	for range threads {
		wait.Go(func() {
			one, during, failed := s.thread(ctx, frames, rate/float64(threads), n, d)
			mu.Lock()
			defer mu.Unlock()
			sent += one
			took = max(took, during)
			if err == nil {
				err = failed // one is enough: they all end for the same reason
			}
		})
	}
	wait.Wait()
	return sent, took, err
}

func (s *source) thread(ctx context.Context, frames [][]byte, rate float64, n int, d time.Duration) (uint64, time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := openPacket(s.host)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	b := newBatch(frames, n)
	p := pacer{rate: rate, quantum: n, now: time.Now, sleep: time.Sleep, send: func() (int, error) { return b.send(fd) }}
	return p.run(ctx, d)
}

// openPacket opens a packet socket that only sends, on a host's eth0.
func openPacket(host *testbed.Host) (fd int, err error) {
	err = host.Do(func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: it receives nothing
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("opening a packet socket on %s: %w", host.Name, err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: host.Interfaces[0].Index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("setting up a packet socket on %s of %s: %w", host.Interfaces[0].Name, host.Name, err)
	}
	return fd, nil
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
}

// batch is what one sendmmsg(2) carries.
type batch struct {
	messages []message
	vectors  []unix.Iovec
	frames   [][]byte
}

// newBatch makes a batch of n frames, those given in turn. It is sent as often as
// one likes.
func newBatch(frames [][]byte, n int) *batch {
	b := &batch{messages: make([]message, n), vectors: make([]unix.Iovec, n), frames: frames}
	for i := range n {
		f := frames[i%len(frames)]
		b.vectors[i].Base = &f[0]
		b.vectors[i].SetLen(len(f))
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// send returns how many of the frames the kernel took.
func (b *batch) send(fd int) (int, error) {
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), uintptr(len(b.messages)), 0, 0, 0)
	switch errno {
	case 0:
		return int(sent), nil
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return 0, nil
	}
	return 0, fmt.Errorf("sending frames: %w", errno)
}
