// SPDX-License-Identifier: Apache-2.0

package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Features is the XDP that a device's driver can do now (enum netdev_xdp_act in
// include/uapi/linux/netdev.h). It can change: a veth takes redirected frames
// only while its other end polls.
type Features uint64

const (
	Basic             Features = 1 << 0 // native programs, with PASS, DROP, ABORTED and TX
	Redirect          Features = 1 << 1 // a program here may redirect to elsewhere
	Transmit          Features = 1 << 2 // frames redirected from elsewhere are sent
	ZeroCopy          Features = 1 << 3
	HardwareOffload   Features = 1 << 4
	ReceiveFragments  Features = 1 << 5 // frames of several buffers
	TransmitFragments Features = 1 << 6
)

// TransmitsRedirected says whether a frame that is redirected to the device is
// sent (NETDEV_XDP_ACT_NDO_XMIT). Otherwise the kernel drops it after the program
// has given its verdict.
func (f Features) TransmitsRedirected() bool { return f&Transmit != 0 }

func (f Features) String() string {
	if f == 0 {
		return "none"
	}
	var set []string
	for i, name := range []string{"basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"} {
		if f&(1<<i) != 0 {
			set = append(set, name)
			f &^= 1 << i
		}
	}
	if f != 0 {
		set = append(set, fmt.Sprintf("%#x", uint64(f)))
	}
	return strings.Join(set, ",")
}

// Of the netdev family, include/uapi/linux/netdev.h.
const (
	netdevFamily     = "netdev"
	netdevCmdDevGet  = 1 // NETDEV_CMD_DEV_GET
	netdevIfindex    = 1 // NETDEV_A_DEV_IFINDEX
	netdevXDPFeature = 3 // NETDEV_A_DEV_XDP_FEATURES
)

// genericHeader is struct genlmsghdr: cmd, version, and two reserved bytes, which
// the kernel wants to be zero. (nl.Genlmsg has only the first two, and sends what
// happens to be in memory after them.)
type genericHeader [4]byte

func (h genericHeader) Len() int          { return len(h) }
func (h genericHeader) Serialize() []byte { return h[:] }

// XDPFeatures asks what XDP a device can do. Before Linux 6.3 there is nobody to
// ask: the error is then [ErrUnknown].
func XDPFeatures(ifindex int) (Features, error) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("XDP features of device %d: %w: this kernel has no generic netlink family %q (Linux 6.3 has)", ifindex, ErrUnknown, netdevFamily)
	}
	if err != nil {
		return 0, fmt.Errorf("looking up generic netlink family %q: %w", netdevFamily, err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genericHeader{netdevCmdDevGet, 1})
	req.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(ifindex))))
	answers, err := req.Execute(unix.NETLINK_GENERIC, family.ID)
	if errors.Is(err, unix.ENODEV) {
		return 0, fmt.Errorf("XDP features of device %d: %w", ifindex, ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the XDP features of device %d: %w", ifindex, err)
	}
	if len(answers) != 1 || len(answers[0]) < nl.SizeofGenlmsg {
		return 0, fmt.Errorf("asking for the XDP features of device %d: unexpected answer (%d messages)", ifindex, len(answers))
	}
	attrs, err := nl.ParseRouteAttrAsMap(answers[0][nl.SizeofGenlmsg:])
	if err != nil {
		return 0, fmt.Errorf("reading the XDP features of device %d: %w", ifindex, err)
	}
	a, ok := attrs[netdevXDPFeature]
	if !ok || len(a.Value) != 8 {
		return 0, fmt.Errorf("XDP features of device %d: %w: they are not in its answer", ifindex, ErrUnknown)
	}
	return Features(binary.NativeEndian.Uint64(a.Value)), nil
}
