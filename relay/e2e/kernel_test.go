// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// coturn's client, four clients with 300 messages each way, on the default
// config: none lost, and nearly all relayed by the kernel.
func TestCoturnClientThroughTheKernel(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	for name, tc := range map[string]struct {
		bed     testbed.Options
		offload string
		mode    string
	}{
		"default": {testbed.Options{}, "", "generic"},
		"native":  {testbed.Options{SwitchXDPPass: true}, "{interface: eth0, mode: native}", "native"},
		// The relay answers another MAC address than those that the packet came
		// with.
		"peer behind a gateway": {testbed.Options{Topology: testbed.Routed()}, "", "generic"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, tc.bed, stage.Config{Offload: tc.offload})
			var on logs.OffloadAttached
			if err := s.wait("offload.attached", 0, nil).Decode(&on); err != nil || on.Mode != tc.mode {
				t.Errorf("attached in mode %q (%v), want %q", on.Mode, err, tc.mode)
			}
			s.peer()
			s.coturn(stage.Uclient{Clients: 4, Messages: 300, Length: 171})
			c := mostlyKernel(t, s.finish(), 2400)
			if c.Kernel.TxErrors != 0 || c.Userspace.Overflowed != 0 {
				t.Errorf("transmit errors %d, lost in sockets' queues %d", c.Kernel.TxErrors, c.Userspace.Overflowed)
			}
		})
	}
}

// A relay between two networks redirects to its second device. What peers send
// comes in there, where no router is: user space relays it.
func TestPeerOnASecondDevice(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	t.Parallel()
	s := open(t, testbed.Options{Topology: testbed.TwoArmed()})
	here, there := s.bed.Host("relay").Interfaces[0], s.bed.Host("relay").Interfaces[1]
	back := &netlink.Route{Dst: &net.IPNet{IP: here.IPv4Prefix.Addr().AsSlice(), Mask: net.CIDRMask(here.IPv4Prefix.Bits(), 32)}, Gw: there.IPv4.AsSlice()}
	if err := s.bed.Host("peer").Netlink().RouteAdd(back); err != nil {
		t.Fatal(err)
	}
	s.start(stage.Config{Offload: "{interface: eth0, mode: generic}"})
	s.wait("relay.started", 0, nil)
	s.peer()
	s.coturn(stage.Uclient{Clients: 4, Messages: 100, Length: 171, Interval: 5 * time.Millisecond})
	lines := s.finish()
	packets := map[string]uint64{}
	for _, l := range named(lines, "route.decision") {
		var e logs.RouteDecision
		l.Decode(t, &e)
		if e.Verdict == "relay" {
			packets[e.Direction+" "+e.Datapath] += e.Packets
		}
	}
	if packets["to_peer kernel"] < 380 || packets["to_client userspace"] != 400 || packets["to_client kernel"] != 0 {
		t.Errorf("relayed %v, want 95 %% of 400 to the peer in the kernel, and all to the client in user space", packets)
	}
}
