// SPDX-License-Identifier: Apache-2.0

// Package device reads what the kernel knows of a network device that matters to
// an XDP router: what it is, which mode of attachment can be trusted on it, what
// XDP it can do, and how many frames that the router sent it has lost.
//
// A number that the kernel does not give is never reported as zero: the answer
// is [ErrUnknown]. Everything is read in the calling thread's network namespace,
// and needs no privilege.
package device

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	// ErrUnknown: this kernel, or this device's driver, does not tell.
	ErrUnknown = errors.New("the kernel does not tell")
	// ErrNotFound: there is no such device in this network namespace.
	ErrNotFound = errors.New("no such network interface")
)

// Info is a device as the kernel describes it.
type Info struct {
	Name    string
	Ifindex int
	MTU     int // bytes of the largest IP packet
	// Kind is the type of a virtual device, as "ip -d link" names it: veth,
	// bridge, vlan, tun, … It is empty for a device that a bus or a hypervisor
	// brought, and for lo.
	Kind string
	// Driver is what ethtool calls it: virtio_net, mlx5_core, veth, … It is empty
	// where there is none.
	Driver       string
	HardwareAddr net.HardwareAddr // empty for one without link-layer addresses
	Addresses    []netip.Prefix   // IPv4 and IPv6, each with its subnet's length
	Up           bool             // set up; it may still be without a carrier
	Loopback     bool
	// Features is the XDP that the driver can do; FeaturesKnown is false where
	// the kernel does not tell.
	Features      Features
	FeaturesKnown bool
}

// Inspect reads a device by its name. The error for one that is not there names
// those that are.
func Inspect(name string) (Info, error) {
	l, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if name == "" || errors.As(err, &missing) {
		return Info{}, notFound(name)
	}
	if err != nil {
		return Info{}, fmt.Errorf("reading network interface %q: %w", name, err)
	}
	a := l.Attrs()
	info := Info{
		Name: a.Name, Ifindex: a.Index, MTU: a.MTU, HardwareAddr: a.HardwareAddr,
		Up: a.Flags&net.FlagUp != 0, Loopback: a.Flags&net.FlagLoopback != 0,
	}
	// The netlink package calls a device without IFLA_INFO_KIND "device".
	if kind := l.Type(); kind != "device" {
		info.Kind = kind
	}
	if info.Addresses, err = addresses(l); err != nil {
		return Info{}, err
	}
	if info.Driver, err = driver(a.Name); err != nil {
		return Info{}, err
	}
	switch info.Features, err = XDPFeatures(a.Index); {
	case err == nil:
		info.FeaturesKnown = true
	case !errors.Is(err, ErrUnknown):
		return Info{}, err
	}
	return info, nil
}

func addresses(l netlink.Link) ([]netip.Prefix, error) {
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("reading the addresses of %s: %w", l.Attrs().Name, err)
	}
	var prefixes []netip.Prefix
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		if !ok {
			return nil, fmt.Errorf("reading the addresses of %s: the kernel gave one of %d bytes", l.Attrs().Name, len(a.IP))
		}
		prefixes = append(prefixes, netip.PrefixFrom(addr.Unmap(), bits))
	}
	return prefixes, nil
}

// driver asks ethtool. That a device has no such name is not an error.
func driver(name string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("opening a socket to ask for the driver of %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	d, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("asking for the driver of %s: %w", name, err)
	}
	return unix.ByteSliceToString(d.Driver[:]), nil
}

func notFound(name string) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("%w: %q (and listing those that exist failed: %w)", ErrNotFound, name, err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	return fmt.Errorf("%w: %q; there are: %s", ErrNotFound, name, strings.Join(names, ", "))
}
