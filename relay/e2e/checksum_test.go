// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// checksums counts the UDP datagrams from the relay that a host received.
type checksums struct{ none, right, wrong int }

// watchChecksums counts what reaches a host from the relay's relayed ports, by
// its UDP checksum, until the function that it returns is called. A raw socket
// sees datagrams before the kernel has judged them.
func (s *scene) watchChecksums(host string) func() checksums {
	s.Helper()
	var fd int
	err := s.bed.Host(host).Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	wait := unix.Timeval{Usec: 50_000}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		s.Fatal(err)
	}
	from := s.bed.Host("relay").Addr().As4()
	stop, counted := make(chan struct{}), make(chan checksums, 1)
	go func() {
		var c checksums
		defer func() { unix.Close(fd); counted <- c }()
		packet := make([]byte, 1<<16)
		for {
			n, _, err := unix.Recvfrom(fd, packet, 0)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil: // nothing more for a while
				select {
				case <-stop:
					return
				default:
					continue
				}
			}
			if p := packet[:n]; n >= 28 && [4]byte(p[12:16]) == from {
				c.count(p)
			}
		}
	}()
	return func() checksums {
		close(stop)
		return <-counted
	}
}

// count judges one IPv4 packet by the whole of RFC 768's sum.
func (c *checksums) count(p []byte) {
	header := int(p[0]&0xf) * 4
	udp := p[header:]
	if binary.BigEndian.Uint16(udp[6:]) == 0 {
		c.none++
		return
	}
	sum := uint32(unix.IPPROTO_UDP) + uint32(len(udp))
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	add(p[12:20])
	add(udp)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum == 0xffff {
		c.right++
	} else {
		c.wrong++
	}
}
