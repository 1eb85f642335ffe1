// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// switchName is the name of the namespace that holds the bridges.
const switchName = "switch"

// upTimeout bounds how long a new bed may take until its links carry packets.
const upTimeout = 10 * time.Second

// Options say what bed to make. The zero value is a flat network of client,
// relay and peer.
type Options struct {
	Topology Topology // no hosts: Flat()

	// SwitchXDPPass attaches an XDP program that passes every frame to the
	// switch's end of every link. Without a program (or GRO, see below) there,
	// veth drops all frames that a host sends with native XDP_TX or XDP_REDIRECT:
	// veth_xdp_xmit in drivers/net/veth.c needs the receiver's NAPI. It costs
	// CPU on every packet, so ask for it only where native XDP must deliver.
	SwitchXDPPass bool

	// SwitchGRO turns GRO on at the switch's ends, which starts their NAPI too.
	// Frames that a host redirects then arrive, but those that it sends with
	// native XDP_TX are counted as sent, and lost (seen on Linux 6.18): the device
	// that eats frames without a word.
	SwitchGRO bool

	// TxChecksumOffload leaves the hosts' transmit checksum offload (and with it
	// segmentation offload) on, as veth has it by default: what XDP sees then
	// has partial checksums. Off by default.
	TxChecksumOffload bool

	MTU int // of every link, in bytes; 0: 1500
}

// Bed is a running test bed. Its methods may be called from several goroutines.
type Bed struct {
	name     string // plumb-PID-N
	fabric   *Host  // the switch's namespace: no addresses, only bridges
	hosts    []*Host
	closers  []io.Closer // XDP links
	commands commandSet
}

// New makes a bed for a test, which it skips where there cannot be one (see
// [Require]), and removes it when the test ends.
func New(t TB, o Options) *Bed {
	t.Helper()
	Require(t)
	b, err := Open(o)
	if err != nil {
		t.Fatalf("making a test bed: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Logf("removing test bed %s: %v", b.name, err)
		}
	})
	return b
}

// Open makes a bed. The caller closes it. When Open returns, all links are up;
// neighbours are not resolved yet (see [Host.Resolve] and [Bed.Warm]).
func Open(o Options) (_ *Bed, err error) {
	if len(o.Topology.Hosts) == 0 {
		o.Topology = Flat()
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	if err := o.Topology.check(); err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	if _, err := Sweep(); err != nil {
		return nil, fmt.Errorf("removing what killed test beds left: %w", err)
	}
	b := &Bed{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := b.claimName(); err != nil {
		return nil, err
	}
	bridges := map[string]*netlink.Bridge{}
	for i, n := range o.Topology.Networks {
		br, err := b.addBridge(fmt.Sprintf("br%d", i), o.MTU)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", n.Name, err)
		}
		bridges[n.Name] = br
	}
	for _, spec := range o.Topology.Hosts {
		if err := b.addHost(spec, o, bridges); err != nil {
			return nil, fmt.Errorf("host %s: %w", spec.Name, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), upTimeout)
	defer cancel()
	for _, h := range append([]*Host{b.fabric}, b.hosts...) {
		if err := h.waitUp(ctx); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// claimName takes the first free plumb-PID-N by making the switch's namespace.
func (b *Bed) claimName() error {
	for n := 1; ; n++ {
		b.name = fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), n)
		h, err := b.newHost(switchName)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		b.fabric = h
		return h.Do(func() error {
			// The bridges need no addresses, and must send nothing of their own.
			return setSysctl("net/ipv6/conf/all/disable_ipv6", "1", "net/ipv6/conf/default/disable_ipv6", "1")
		})
	}
}

func (b *Bed) addBridge(name string, mtu int) (*netlink.Bridge, error) {
	off := false // snooping would hold back IPv6 neighbour discovery
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, MulticastSnooping: &off}
	if err := b.fabric.nl.LinkAdd(br); err != nil {
		return nil, fmt.Errorf("adding bridge %s in %s: %w", name, b.fabric.Namespace, err)
	}
	if err := b.fabric.nl.LinkSetUp(br); err != nil {
		return nil, fmt.Errorf("setting bridge %s up: %w", name, err)
	}
	return br, nil
}

func (b *Bed) addHost(spec HostSpec, o Options, bridges map[string]*netlink.Bridge) error {
	h, err := b.newHost(spec.Name)
	if err != nil {
		return err
	}
	b.hosts = append(b.hosts, h)
	if err := inNamespace(h.ns, func() error { return hostSysctls(spec.Forward) }); err != nil {
		return err
	}
	if err := h.setLoopbackUp(); err != nil {
		return err
	}
	networks := map[string]Network{}
	for _, n := range o.Topology.Networks {
		networks[n.Name] = n
	}
	for i, is := range spec.Interfaces {
		if err := b.plug(h, i, networks[is.Network], is.Host, bridges[is.Network], o); err != nil {
			return err
		}
	}
	for _, r := range spec.Routes {
		route := &netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice()}
		if err := h.nl.RouteAdd(route); err != nil {
			return fmt.Errorf("adding route %s via %s: %w", r.To, r.Via, err)
		}
	}
	return nil
}

// plug makes the link between a host's interface and a network's bridge.
func (b *Bed) plug(h *Host, index int, n Network, number int, br *netlink.Bridge, o Options) error {
	near := fmt.Sprintf("eth%d", index)
	far := fmt.Sprintf("%s-%d", h.Name, index)
	i := Interface{
		Name: near, SwitchEnd: far, Network: n.Name,
		IPv4: nth(n.IPv4, number), IPv4Prefix: n.IPv4, IPv6Prefix: n.IPv6,
	}
	i.MAC = macFor(i.IPv4)
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: far, MTU: o.MTU, MasterIndex: br.Index},
		PeerName:         near,
		PeerMTU:          uint32(o.MTU),
		PeerHardwareAddr: i.MAC,
		PeerNamespace:    netlink.NsFd(h.ns),
	}
	sw := b.fabric
	if err := sw.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding veth %s (%s) — %s (%s): %w", far, sw.Namespace, near, h.Namespace, err)
	}
	if err := sw.nl.LinkSetUp(veth); err != nil {
		return fmt.Errorf("setting %s up: %w", far, err)
	}
	if err := b.tuneSwitchEnd(far, veth.Index, o); err != nil {
		return err
	}
	if err := inNamespace(h.ns, func() error { return tuneHostEnd(near, o) }); err != nil {
		return err
	}
	l, err := h.nl.LinkByName(near)
	if err != nil {
		return fmt.Errorf("finding %s in %s: %w", near, h.Namespace, err)
	}
	i.Index = l.Attrs().Index
	if err := addAddr(h.nl, l, i.IPv4, n.IPv4); err != nil {
		return err
	}
	if n.IPv6.IsValid() {
		i.IPv6 = nth(n.IPv6, number)
		if err := addAddr(h.nl, l, i.IPv6, n.IPv6); err != nil {
			return err
		}
	}
	if err := h.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("setting %s up in %s: %w", near, h.Namespace, err)
	}
	h.Interfaces = append(h.Interfaces, i)
	return nil
}

func (b *Bed) tuneSwitchEnd(dev string, index int, o Options) error {
	return b.fabric.Do(func() error {
		if err := setOffload(dev, gro, o.SwitchGRO); err != nil {
			return err
		}
		if !o.SwitchXDPPass {
			return nil
		}
		prog, err := passProgram()
		if err != nil {
			return err
		}
		defer func() { _ = prog.Close() }()
		return b.attachPass(prog, dev, index)
	})
}

func (b *Bed) attachPass(prog *ebpf.Program, dev string, index int) error {
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: index, Flags: link.XDPDriverMode})
	if err != nil {
		return fmt.Errorf("attaching the passing XDP program to %s in %s: %w", dev, b.fabric.Namespace, err)
	}
	b.closers = append(b.closers, l)
	return nil
}

// tuneHostEnd runs in the host's namespace.
func tuneHostEnd(dev string, o Options) error {
	if o.TxChecksumOffload {
		return nil
	}
	// TSO goes with the checksums: the kernel drops it by itself, and the read
	// back makes sure of that. GSO would merge before a software checksum.
	for _, f := range []offload{txChecksum, tso, gso} {
		if err := setOffload(dev, f, false); err != nil {
			return err
		}
	}
	return nil
}

// Name is the common part of the namespaces' names, plumb-PID-N.
func (b *Bed) Name() string { return b.name }

// Hosts are the hosts in the topology's order, without the switch.
func (b *Bed) Hosts() []*Host { return append([]*Host(nil), b.hosts...) }

// Switch is the namespace that holds the bridges, with bridge brN for the Nth
// network and the far ends of the hosts' links, HOST-N.
func (b *Bed) Switch() *Host { return b.fabric }

// Host returns a host by its name. It panics if the topology has none such, as
// that is a mistake in the test.
func (b *Bed) Host(name string) *Host {
	for _, h := range b.hosts {
		if h.Name == name {
			return h
		}
	}
	panic(fmt.Sprintf("testbed: no host %q in this topology", name))
}

// Close kills the commands that still run in the bed, and removes its links and
// namespaces. Sockets that the caller opened in it stay the caller's to close.
func (b *Bed) Close() error {
	var errs []error
	errs = append(errs, b.commands.killAll())
	for _, c := range b.closers {
		errs = append(errs, c.Close())
	}
	b.closers = nil
	// Removing the switch's ends removes the pairs now, rather than whenever the
	// last reference to the namespaces goes.
	if b.fabric != nil {
		errs = append(errs, b.fabric.deleteLinks())
	}
	for _, h := range b.hosts {
		errs = append(errs, h.close())
	}
	b.hosts = nil
	if b.fabric != nil {
		errs = append(errs, b.fabric.close())
		b.fabric = nil
	}
	return errors.Join(errs...)
}

func (b *Bed) newHost(name string) (*Host, error) {
	h := &Host{Name: name, Namespace: b.name + "-" + name, commands: &b.commands}
	ns, err := newNamespace(h.Namespace)
	if err != nil {
		return nil, err
	}
	h.ns = ns
	h.nl, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening rtnetlink in %s: %w", h.Namespace, err), h.close())
	}
	return h, nil
}

// Close the handle's file descriptor and remove the name.
func (h *Host) close() error {
	if h.nl != nil {
		h.nl.Close()
		h.nl = nil
	}
	if h.ns.IsOpen() {
		_ = h.ns.Close()
		h.ns = netns.None()
	}
	err := deleteNamespace(h.Namespace)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
