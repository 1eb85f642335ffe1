// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"plumbline/relay/testbed"
)

// Uclient is a run of coturn's client against a relay: channels, with data going
// to an echoing peer and back.
type Uclient struct {
	Server   netip.Addr
	Port     uint16     // of the server; 0: 3478
	Peer     netip.Addr // not used with ToEachOther
	Clients  int        // each makes two allocations, and never deletes them
	Messages int        // per allocation that carries data, in each direction
	Length   int        // bytes a message
	// Send makes it use Send and Data indications instead of channels.
	Send bool
	// ToEachOther makes the clients each other's peers, over the relay.
	ToEachOther bool
	// Interval is the pause between messages; 0: coturn's 20 ms.
	Interval time.Duration
}

// Traffic is what coturn's client counted.
type Traffic struct {
	Sent, Received, Lost int
	Output               string
}

var (
	uclientSent = regexp.MustCompile(`tot_send_msgs=(\d+)`)
	uclientRecv = regexp.MustCompile(`tot_recv_msgs=(\d+)`)
)

// Run runs the client on a host until it ends by itself.
func (u Uclient) Run(ctx context.Context, host *testbed.Host) (Traffic, error) {
	args := []string{"-u", User, "-w", Password,
		"-m", strconv.Itoa(max(u.Clients, 1)), "-n", strconv.Itoa(u.Messages), "-l", strconv.Itoa(max(u.Length, 100))}
	if u.ToEachOther {
		args = append(args, "-y")
	} else {
		args = append(args, "-e", u.Peer.String(), "-r", "3480")
	}
	if u.Port != 0 {
		args = append(args, "-p", strconv.Itoa(int(u.Port)))
	}
	if u.Send {
		args = append(args, "-s")
	}
	if u.Interval > 0 {
		args = append(args, "-z", strconv.Itoa(int(u.Interval.Milliseconds())))
	}
	args = append(args, "-X", u.Server.String())
	cmd := host.Command(ctx, "turnutils_uclient", args...)
	out, err := cmd.CombinedOutput()
	t := Traffic{Output: string(out)}
	if err != nil {
		return t, fmt.Errorf("turnutils_uclient %v: %w:\n%s", args, err, out)
	}
	sent, recv := last(uclientSent, t.Output), last(uclientRecv, t.Output)
	if sent < 0 || recv < 0 {
		return t, fmt.Errorf("turnutils_uclient %v told no totals:\n%s", args, out)
	}
	t.Sent, t.Received, t.Lost = sent, recv, sent-recv
	return t, nil
}

func last(re *regexp.Regexp, s string) int {
	all := re.FindAllStringSubmatch(s, -1)
	if len(all) == 0 {
		return -1
	}
	n, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		return -1
	}
	return n
}

// StartPeer runs coturn's echoing peer on a host until ctx ends.
func StartPeer(ctx context.Context, host *testbed.Host) error {
	cmd := host.Command(ctx, "turnutils_peer", "-L", host.Addr().String(), "-p", "3480")
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting turnutils_peer: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return waitEcho(ctx, host)
}

// waitEcho waits until the peer answers, from its own host.
func waitEcho(ctx context.Context, host *testbed.Host) error {
	c, err := host.ListenUDP(netip.AddrPortFrom(host.Addr(), 0))
	if err != nil {
		return err
	}
	defer c.Close()
	to := netip.AddrPortFrom(host.Addr(), 3480)
	buf := make([]byte, 64)
	for ctx.Err() == nil {
		if _, err := c.WriteToUDPAddrPort([]byte("plumb"), to); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if n, _, err := c.ReadFromUDPAddrPort(buf); err == nil && n > 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("the echoing peer on %s did not answer: %w", to, ctx.Err())
}
