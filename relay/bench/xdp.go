// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"plumbline/relay/testbed"
)

// The flows: a channel a client, to one peer. Where they are constants, ports
// are these.
const (
	clients       = 8      // FLOW_BITS in xdp.c
	clientPort    = 20000  // and the seven after it
	relayedPort   = 40000  // likewise
	listenPort    = 3478   // RFC 8656 §18
	peerPort      = 9000   // of the one peer
	channelNumber = 0x4000 // RFC 8656 §12
)

// xdpHost is xdp.c's struct host, in network byte order.
type xdpHost struct {
	Address [4]byte
	MAC     [6]byte
	Port    [2]byte
}

func bigEndian(n uint16) [2]byte { return [2]byte{byte(n >> 8), byte(n)} }

// constants are the read-only data of xdp.c.
type constants struct{ client, peer, relay xdpHost }

func hostConstant(h *testbed.Host, port uint16) xdpHost {
	return xdpHost{h.Addr().As4(), [6]byte(h.Interfaces[0].MAC), bigEndian(port)}
}

// load loads xdp.c's programs, with data of their own.
func (c constants) load() (*xdpObjects, error) {
	spec, err := loadXdp()
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]any{
		"client": c.client, "peer": c.peer, "relay": c.relay,
		"relayed_port": bigEndian(relayedPort), "channel_number": bigEndian(channelNumber),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s of the benchmark's XDP programs: %w", name, err)
		}
	}
	objects := new(xdpObjects)
	if err := spec.LoadAndAssign(objects, nil); err != nil {
		return nil, fmt.Errorf("loading the benchmark's XDP programs: %w", err)
	}
	return objects, nil
}

// attachNative attaches a program to a host's eth0 in the driver. For it to send
// from there, veth needs a program at the link's other end too.
func attachNative(host *testbed.Host, program *ebpf.Program) (link.Link, error) {
	var l link.Link
	err := host.Do(func() (err error) {
		l, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: host.Interfaces[0].Index, Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attaching %s natively: %w", program, err)
	}
	return l, nil
}

// on is an address on a host.
func on(h *testbed.Host, port uint16) netip.AddrPort { return netip.AddrPortFrom(h.Addr(), port) }

// sink makes an endpoint count and drop the datagrams of a trial. Trial 0 ends
// that: an endpoint then sends back what comes to the peer's port.
func (o *xdpVariables) sink(trial uint64, framed bool) error {
	var in uint64
	if framed {
		in = 1
	}
	for _, set := range []struct {
		variable *ebpf.Variable
		value    uint64
	}{{o.EndpointCounted, 0}, {o.EndpointFramed, in}, {o.EndpointTrial, trial}} {
		if err := set.variable.Set(set.value); err != nil {
			return fmt.Errorf("setting up an endpoint for a trial: %w", err)
		}
	}
	return nil
}

// counted is how many datagrams of the trial came.
func (o *xdpVariables) counted() (uint64, error) {
	var n uint64
	if err := o.EndpointCounted.Get(&n); err != nil {
		return 0, fmt.Errorf("reading what an endpoint counted: %w", err)
	}
	return n, nil
}
