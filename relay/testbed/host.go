// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is one namespace of a bed.
type Host struct {
	Name       string      // as in the topology
	Namespace  string      // its name under /run/netns
	Interfaces []Interface // eth0, eth1, …; not lo

	ns       netns.NsHandle
	nl       *netlink.Handle
	commands *commandSet
}

// Interface is a host's end of a link.
type Interface struct {
	Name       string // eth0, …
	Index      int    // in the host's namespace
	MAC        net.HardwareAddr
	Network    string
	IPv4       netip.Addr
	IPv4Prefix netip.Prefix
	IPv6       netip.Addr // invalid where the network has no IPv6
	IPv6Prefix netip.Prefix
	SwitchEnd  string // the other end's name, in the switch's namespace
}

// Addr is the IPv4 address of eth0.
func (h *Host) Addr() netip.Addr { return h.Interfaces[0].IPv4 }

// Addr6 is the IPv6 address of eth0.
func (h *Host) Addr6() netip.Addr { return h.Interfaces[0].IPv6 }

// Path is the namespace's file, for nsenter --net=.
func (h *Host) Path() string { return filepath.Join(namespaceDir, h.Namespace) }

// Netlink is an rtnetlink handle in the host's namespace. It is the bed's to
// close.
func (h *Host) Netlink() *netlink.Handle { return h.nl }

// Do runs fn on the calling goroutine, in the host's network namespace, and
// returns what fn returns. Sockets opened by fn, and XDP programs attached by it,
// stay in that namespace; goroutines started by fn are not in it. The test's
// FailNow may be called in fn. fn must not drop CAP_SYS_ADMIN: Do panics if it
// cannot come back.
func (h *Host) Do(fn func() error) error {
	if !h.ns.IsOpen() {
		return fmt.Errorf("host %s: its test bed is closed", h.Name)
	}
	if err := inNamespace(h.ns, fn); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// ListenUDP opens a UDP socket in the host's namespace. Port 0 takes a free one.
func (h *Host) ListenUDP(addr netip.AddrPort) (*net.UDPConn, error) {
	var conn *net.UDPConn
	err := h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	return conn, err
}

// SwitchXDPPass attaches a passing XDP program to the switch's end of one of this
// bed's links, as [Options.SwitchXDPPass] does to all of them.
func (b *Bed) SwitchXDPPass(i Interface) error {
	return b.fabric.Do(func() error {
		l, err := b.fabric.nl.LinkByName(i.SwitchEnd)
		if err != nil {
			return fmt.Errorf("finding %s: %w", i.SwitchEnd, err)
		}
		prog, err := passProgram()
		if err != nil {
			return err
		}
		defer func() { _ = prog.Close() }()
		return b.attachPass(prog, i.SwitchEnd, l.Attrs().Index)
	})
}

func (h *Host) setLoopbackUp() error {
	lo, err := h.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo in %s: %w", h.Namespace, err)
	}
	if err := h.nl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up in %s: %w", h.Namespace, err)
	}
	return nil
}

// deleteLinks removes every link of the namespace that can be removed.
func (h *Host) deleteLinks() error {
	if h.nl == nil {
		return nil
	}
	links, err := h.nl.LinkList()
	if err != nil {
		return fmt.Errorf("listing the links of %s: %w", h.Namespace, err)
	}
	var errs []error
	for _, l := range links {
		if t := l.Type(); t != "veth" && t != "bridge" {
			continue
		}
		if err := h.nl.LinkDel(l); err != nil {
			errs = append(errs, fmt.Errorf("removing %s from %s: %w", l.Attrs().Name, h.Namespace, err))
		}
	}
	return errors.Join(errs...)
}

// waitUp waits until every veth in the namespace is operationally up. Setting a
// link up only starts that: until the kernel's link watch has run, the device
// silently discards what is sent.
func (h *Host) waitUp(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	updates := make(chan netlink.LinkUpdate, 64)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &h.ns})
	if err != nil {
		return fmt.Errorf("host %s: watching links: %w", h.Name, err)
	}
	defer func() { go drain(updates) }()
	for {
		links, err := h.nl.LinkList()
		if err != nil {
			return fmt.Errorf("host %s: listing links: %w", h.Name, err)
		}
		down := ""
		for _, l := range links {
			// A bridge forwards as soon as its ports are up; its own state takes
			// the link watch a second more, and only says how it is as a host.
			if l.Type() == "veth" && l.Attrs().OperState != netlink.OperUp {
				down = l.Attrs().Name
			}
		}
		if down == "" {
			return nil
		}
		select {
		case _, ok := <-updates:
			if !ok {
				return fmt.Errorf("host %s: the watch of its links ended while %s was not up", h.Name, down)
			}
		case <-ctx.Done():
			return fmt.Errorf("host %s: %s is not up: %w", h.Name, down, ctx.Err())
		}
	}
}

// drain empties a subscription's channel, so that its goroutine can see that the
// socket is closed, and end.
func drain[T any](ch <-chan T) {
	for range ch {
	}
}

func addAddr(nl *netlink.Handle, l netlink.Link, a netip.Addr, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, p.Bits()))}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := nl.AddrAdd(l, addr); err != nil {
		return fmt.Errorf("adding address %s to %s: %w", addr.IPNet, l.Attrs().Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// hostSysctls runs in a new host's namespace, before it has links.
func hostSysctls(forward bool) error {
	settings := []string{
		// Addresses are ours alone: usable at once, and nothing is solicited, so
		// that the packets on the links are those of the test.
		"net/ipv6/conf/all/accept_dad", "0",
		"net/ipv6/conf/default/accept_dad", "0",
		"net/ipv6/conf/default/dad_transmits", "0",
		"net/ipv6/conf/default/accept_ra", "0",
		"net/ipv6/conf/default/router_solicitations", "0",
		"net/ipv4/conf/default/rp_filter", "0",
		"net/ipv4/conf/all/rp_filter", "0",
	}
	if forward {
		settings = append(settings, "net/ipv4/ip_forward", "1", "net/ipv6/conf/all/forwarding", "1")
	}
	return setSysctl(settings...)
}

// setSysctl writes pairs of name and value below /proc/sys. Network settings
// there are those of the thread's namespace. A kernel without IPv6 is left so.
func setSysctl(pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		path := filepath.Join("/proc/sys", pairs[i])
		err := os.WriteFile(path, []byte(pairs[i+1]), 0)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(pairs[i], "net/ipv6") {
			continue
		}
		if err != nil {
			return fmt.Errorf("setting %s to %s: %w", path, pairs[i+1], err)
		}
	}
	return nil
}
