// SPDX-License-Identifier: Apache-2.0

package datapath

import "golang.org/x/sys/unix"

// A reason is why a datagram met its verdict. Its number indexes counters.
type reason uint8

const (
	viaChannel reason = iota
	viaIndication
	control
	notTURN
	malformed
	badLength
	sourcePortZero
	sourceNotUnicast
	destinationNotUnicast
	tooLarge
	noAllocation
	allocationExpired
	noChannel
	channelExpired
	noPermission
	permissionExpired
	hairpinDeadPort
	peerNotUnicast
	controlQueueFull
	sendBufferFull
	unreachable
	sendDenied
	sendRefused
	sendFailed
	socketClosed
	reasons // how many there are
)

// The verdicts as the log writes them.
const (
	Relay = "relay"
	Pass  = "pass"
	Drop  = "drop"
)

// The directions as the log writes them. None stands for datagrams that no
// allocation owns.
const (
	ToPeer   = "to_peer"
	ToClient = "to_client"
	None     = "none"
)

var reasonNames = [reasons]string{
	viaChannel:            "channel",
	viaIndication:         "indication",
	control:               "control",
	notTURN:               "not_turn",
	malformed:             "malformed",
	badLength:             "bad_length",
	sourcePortZero:        "source_port_zero",
	sourceNotUnicast:      "source_not_unicast",
	destinationNotUnicast: "destination_not_unicast",
	tooLarge:              "too_large",
	noAllocation:          "no_allocation",
	allocationExpired:     "allocation_expired",
	noChannel:             "no_channel",
	channelExpired:        "channel_expired",
	noPermission:          "no_permission",
	permissionExpired:     "permission_expired",
	hairpinDeadPort:       "hairpin_dead_port",
	peerNotUnicast:        "peer_not_unicast",
	controlQueueFull:      "control_queue_full",
	sendBufferFull:        "send_buffer_full",
	unreachable:           "unreachable",
	sendDenied:            "send_denied",
	sendRefused:           "send_refused",
	sendFailed:            "send_failed",
	socketClosed:          "socket_closed",
}

func (r reason) String() string { return reasonNames[r] }

func (r reason) verdict() string {
	switch r {
	case viaChannel, viaIndication:
		return Relay
	case control:
		return Pass
	}
	return Drop
}

// sendReason names the fate of a datagram after sendmsg(2). sent is the reason
// of one that left.
func sendReason(errno unix.Errno, sent reason) reason {
	switch errno {
	case 0:
		return sent
	case unix.EMSGSIZE:
		return tooLarge
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return sendBufferFull
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN:
		return unreachable
	case unix.EPERM, unix.EACCES: // a firewall's verdict, or a broadcast address
		return sendDenied
	case unix.ECONNREFUSED:
		return sendRefused
	case unix.EBADF:
		return socketClosed
	}
	return sendFailed
}
