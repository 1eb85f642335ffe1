// SPDX-License-Identifier: Apache-2.0

package turn

// Reason is why a data packet was dropped in user space. As an error it is what
// parsing functions return; its text is the key under which drops are counted,
// and does not change between versions.
type Reason uint8

// The reasons. None is the absence of one and is never returned as an error.
const (
	None              Reason = iota
	Malformed                // no ChannelData and no Send indication, or cut short
	BadFingerprint           // FINGERPRINT does not match
	UnknownAttribute         // comprehension-required and not understood
	MissingAttribute         // a Send without XOR-PEER-ADDRESS or DATA
	PeerInvalid              // port 0, or an IPv4-mapped IPv6 address
	NoAllocation             // the 5-tuple or the relayed port has none
	AllocationExpired        // its time is over, whether or not Tick was there
	NoPermission             // none for the peer, or expired
	UnknownChannel           // no channel with that number
	ChannelExpired           // its time is over
	NotRelayed               // to the relay's own address, but no allocation's port
	DontFragment             // a Send that asks for DF, which is not supported
	TooLarge                 // does not fit into one UDP datagram
	SendFailed               // the kernel refused it
	reasonCount
)

var reasonNames = [reasonCount]string{
	"none", "malformed", "bad_fingerprint", "unknown_attribute", "missing_attribute",
	"peer_invalid", "no_allocation", "allocation_expired", "no_permission", "unknown_channel",
	"channel_expired", "not_relayed", "dont_fragment", "too_large", "send_failed",
}

// String is the stable name.
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return reasonNames[r]
}

// Error is the stable name.
func (r Reason) Error() string { return r.String() }

// ReasonCount is how many there are: Reason(0) to Reason(ReasonCount-1), so
// that counters can be an array.
const ReasonCount = int(reasonCount)
