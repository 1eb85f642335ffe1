// SPDX-License-Identifier: Apache-2.0

package device

import "fmt"

// The modes of attachment, as the config spells them.
const (
	Native  = "native"  // in the driver, before the kernel makes a packet of the frame
	Generic = "generic" // in the stack: slower, on any device
)

// virtual tells why native mode is not to be trusted, or not to be had, on kinds
// of devices that have no hardware of their own.
var virtual = map[string]string{
	"veth":    "a veth discards what is sent with XDP_TX unless its other end runs an XDP program, and with GRO there counts it as sent",
	"bridge":  "a bridge runs no native XDP; attach to its ports",
	"tun":     "a TAP hands XDP_TX frames to the process behind it, which has no part in their checksums or sizes",
	"bond":    "a bond forwards XDP_TX to a member that it picks, which may be unable to transmit it",
	"vlan":    "a VLAN device has no native XDP, and its own device sees the frames tagged",
	"macvlan": "a macvlan runs no native XDP",
	"ipvlan":  "an ipvlan runs no native XDP",
	"dummy":   "a dummy device discards everything",
	"vxlan":   "a tunnel runs no native XDP",
	"vrf":     "a VRF device runs no native XDP",
}

// AutoMode is the mode that "auto" stands for on a device: native, but generic
// where a frame sent natively could vanish.
func AutoMode(i Info) string {
	mode, _ := ExplainMode(i)
	return mode
}

// ExplainMode is [AutoMode] with the reason, for the log.
func ExplainMode(i Info) (mode, reason string) {
	switch why, known := virtual[i.Kind]; {
	case i.Loopback:
		return Generic, "the loopback device runs no native XDP"
	case known:
		return Generic, why
	case i.Kind != "":
		return Generic, fmt.Sprintf("a virtual device (%s) may not transmit what is sent with XDP_TX", i.Kind)
	case i.FeaturesKnown && i.Features&Basic == 0:
		return Generic, fmt.Sprintf("driver %q has no native XDP", i.Driver)
	case i.FeaturesKnown:
		return Native, fmt.Sprintf("driver %q has native XDP", i.Driver)
	}
	return Native, fmt.Sprintf("driver %q is a device's own; whether it has native XDP is not known before it is tried", i.Driver)
}
