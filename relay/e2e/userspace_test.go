// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/logs"
	"plumbline/logs/logstest"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// Everything that coturn's client does by channels, by indications and from
// client to client, where the kernel path is off and where it is on.
func TestWaysOfCoturnsClient(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	for name, tc := range map[string]struct {
		offload string
		client  stage.Uclient
		check   func(*testing.T, logs.DatapathCounters)
	}{
		"channels in user space": {"{enabled: false}", stage.Uclient{}, func(t *testing.T, c logs.DatapathCounters) {
			if c.Kernel != nil || c.Userspace.Reasons["channel"] != 800 {
				t.Errorf("want 800 packets relayed in user space, no kernel: %s", asJSON(c))
			}
		}},
		"indications in user space": {"{enabled: false}", stage.Uclient{Send: true}, func(t *testing.T, c logs.DatapathCounters) {
			if c.Kernel != nil || c.Userspace.Reasons["indication"] != 800 {
				t.Errorf("want 800 packets relayed as indications, no kernel: %s", asJSON(c))
			}
		}},
		// The router knows ChannelData alone; it passes indications up, and what
		// peers send to an allocation without a channel.
		"indications beside the kernel": {"", stage.Uclient{Send: true}, func(t *testing.T, c logs.DatapathCounters) {
			if c.Kernel == nil || c.Kernel.Relayed != 0 || c.Kernel.Reasons["not_channel_data"] < 400 || c.Userspace.Reasons["indication"] != 800 {
				t.Errorf("want 800 indications passed up and relayed in user space: %s", asJSON(c))
			}
		}},
		"client to client in user space":     {"{enabled: false}", stage.Uclient{ToEachOther: true}, hairpin},
		"client to client beside the kernel": {"", stage.Uclient{ToEachOther: true}, hairpin},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, testbed.Options{}, stage.Config{Offload: tc.offload, PerUser: 30})
			s.peer()
			tc.client.Clients, tc.client.Messages, tc.client.Length, tc.client.Interval = 4, 100, 171, 10*time.Millisecond
			s.coturn(tc.client)
			lines := s.stop()
			c := final(t, lines)
			tc.check(t, c)
			if c.Userspace.Overflowed != 0 {
				t.Errorf("%d datagrams were lost in sockets' queues", c.Userspace.Overflowed)
			}
			// What the router is not made for is no finding.
			if code, out := s.command("analyze", "mismatches", s.relay.LogDir); code != 0 {
				t.Errorf("analyze mismatches: exit %d\n%s", code, out)
			}
			noSecrets(t, lines)
		})
	}
}

// A relay that the machine leaves no time for a while has its sockets' queues to
// live on: what came meanwhile is relayed when it runs again.
func TestStalledRelayLosesNothing(t *testing.T) {
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{Offload: "{enabled: false}"})
	peer := s.bed.Host("peer")
	conn, err := peer.ListenUDP(netip.AddrPortFrom(peer.Addr(), 0))
	must(t, err)
	defer conn.Close()
	c := newClient(s)
	for _, socket := range []*net.UDPConn{conn, c.conn} {
		raw, err := socket.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20) }))
		must(t, err)
	}
	c.allocate()
	c.bind(0x4000, conn.LocalAddr().(*net.UDPAddr).AddrPort())
	const messages = 2000
	must(t, s.relay.Signal(syscall.SIGSTOP))
	for range messages {
		c.send(0x4000, "while the relay does not run")
	}
	must(t, s.relay.Signal(syscall.SIGCONT))
	b := make([]byte, 100)
	for n := range messages {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Read(b); err != nil {
			t.Fatalf("%d of %d messages reached the peer: %v\n%s\n%s", n, messages, err, s.losses(), s.counters())
		}
	}
	if got := final(t, s.finish()); got.Userspace.Overflowed != 0 || got.Userspace.Relayed != messages {
		t.Errorf("the final counters are %s", asJSON(got))
	}
}

// hairpin: a message between two clients of one relay is relayed once, from
// channel to channel; 400 of them.
func hairpin(t *testing.T, c logs.DatapathCounters) {
	t.Helper()
	if c.Userspace.Relayed < 400 || c.Kernel != nil && c.Kernel.Relayed != 0 {
		t.Errorf("want at least 400 packets, relayed in user space: %s", asJSON(c))
	}
}

// noSecrets: neither password nor anything derived from it is in the log.
func noSecrets(t *testing.T, lines []logstest.Line) {
	t.Helper()
	for _, l := range lines {
		if strings.Contains(string(l.Raw), stage.Password) {
			t.Errorf("%s:%d holds the password: %s", l.File, l.Number, l.Raw)
		}
	}
}
