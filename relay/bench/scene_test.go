// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/relay/testbed"
)

// A short turn of the two contestants that need no other program: everything
// that is printed must have been measured.
func TestMeasure(t *testing.T) {
	testbed.Require(t)
	s, err := startScene(t.Context(), loadOptions{payload: 200, rate: 5000, pings: 500, interval: 200 * time.Millisecond, trial: 50 * time.Millisecond, steps: 2, loss: 0.05, rounds: 1}, []string{direct, floor})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range s.contestants {
		f, err := s.measure(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if f.Loss > 0.5 || f.RoundTrip.P50 <= 0 || f.RoundTrip.P99 < f.RoundTrip.P50 || f.ToPeer < 1000 || f.ToClients < 1000 {
			t.Errorf("%s: %+v", c.name, f)
		}
		// And nothing is left that would disturb the next one.
		if n := counting(t, s); n != 0 {
			t.Errorf("%s: the peer still counts trial %d", c.name, n)
		}
	}
}

func counting(t *testing.T, s *scene) (trial uint64) {
	t.Helper()
	if err := s.peerEnd.EndpointTrial.Get(&trial); err != nil {
		t.Fatal(err)
	}
	return trial
}

// The client against a server of others'.
func TestTurnClient(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	open := func() (fd int, at netip.AddrPort) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback.As4()}); err != nil {
			t.Fatal(err)
		}
		if at, err = localAddress(fd); err != nil {
			t.Fatal(err)
		}
		return fd, at
	}
	peer, to := open()
	// A port that the kernel chose, and that is free again.
	probe, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	listen := probe.LocalAddr().(*net.UDPAddr).AddrPort()
	probe.Close()
	server, err := startPion(listen, "alice", "wonderland", "bench.test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := prepare(fd, netip.AddrPortFrom(loopback, 0), listen); err != nil {
		t.Fatal(err)
	}
	c := &turnClient{fd: fd, user: "alice", password: "wonderland"}
	if err := c.binding(); err != nil {
		t.Fatal(err)
	}
	relayed, err := c.allocate()
	if err != nil {
		t.Fatal(err)
	}
	if relayed.Addr() != loopback || relayed.Port() == 0 {
		t.Errorf("relayed transport address %s", relayed)
	}
	if err := c.bind(channelNumber, to); err != nil {
		t.Fatal(err)
	}
	p := session{contestant: &contestant{}, framed: true, payload: 100}
	out, payload := (&session{framed: true, payload: 100}).datagram()
	stamp(payload, 99)
	if err := transmit(fd, out); err != nil {
		t.Fatal(err)
	}
	in := make([]byte, 2000)
	n, from, err := unix.Recvfrom(peer, in, 0)
	if err != nil || n != 100 {
		t.Fatalf("the peer got %d bytes, %v", n, err)
	}
	if _, trial := stamped(in); trial != 99 {
		t.Errorf("the peer got a datagram of trial %d", trial)
	}
	if err := unix.Sendto(peer, in[:n], 0, from); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for n, _, err = unix.Recvfrom(fd, in, 0); err != nil && time.Now().Before(deadline); {
		n, _, err = unix.Recvfrom(fd, in, 0)
	}
	if err != nil || p.unframe(in[:n]) == nil {
		t.Fatalf("the client got %d bytes, %v", n, err)
	}
	if err := c.release(); err != nil {
		t.Fatal(err)
	}
	wrong := &turnClient{fd: fd, user: "alice", password: "looking-glass"}
	if _, err := wrong.allocate(); err == nil {
		t.Error("a wrong password was taken")
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-rounds 0", "-rounds is 0, want 1 to 100"},
		{"-payload 15", "-payload is 15, want 16 to 1400"},
		{"-rate NaN", "-rate is NaN"},
		{"-parts relays,jq", `there is no part "jq"`},
		{"more", `unexpected argument "more"`},
	} {
		var out strings.Builder
		if _, err := parse(strings.Fields(c.args), &out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
	s, err := parse([]string{"-parts", "timeline"}, &strings.Builder{})
	if err != nil || s.has("relays") || !s.has("timeline") {
		t.Errorf("parts %q (%v)", s.parts, err)
	}
	s.analyze = "bin/there-is-no-such-program"
	if err := s.ready(); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("a missing binary: %v", err)
	}
}

func TestTimed(t *testing.T) {
	took, lines, err := timed(t.Context(), t.TempDir(), []string{"sh", "-c", "echo a; echo b"})
	if err != nil || lines != 2 || took <= 0 {
		t.Errorf("%s, %d lines, %v", took, lines, err)
	}
	if _, _, err := timed(t.Context(), t.TempDir(), []string{"sh", "-c", "echo no >&2; exit 3"}); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("a program that fails: %v", err)
	}
	if _, _, err := timed(t.Context(), t.TempDir(), []string{"true"}); err == nil {
		t.Error("a program that prints nothing was timed")
	}
}
