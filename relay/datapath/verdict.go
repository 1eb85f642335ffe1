// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"golang.org/x/sys/unix"

	"plumbline/relay/turn"
)

// A reason is why a datagram met its verdict, and indexes counters. The first
// ones are the core's, turn.Reason; those that only sockets know follow.
type reason uint8

const (
	viaChannel reason = reason(turn.ReasonCount) + iota
	viaIndication
	control
	controlQueueFull
	notTURN
	sourcePortZero
	sourceNotUnicast
	destinationNotUnicast
	hairpinDeadPort
	sendBufferFull
	unreachable
	sendDenied
	sendRefused
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
	control:               "control",                 // to the core
	controlQueueFull:      "control_queue_full",      // the core has no room
	notTURN:               "not_turn",                // neither STUN nor ChannelData
	sourcePortZero:        "source_port_zero",        // can't be answered
	sourceNotUnicast:      "source_not_unicast",      // can't be answered
	destinationNotUnicast: "destination_not_unicast", // came as a broadcast or multicast
	hairpinDeadPort:       "hairpin_dead_port",       // the relay's own address, but no live allocation's port
	sendBufferFull:        "send_buffer_full",        // of the socket or the device
	unreachable:           "unreachable",             // no route
	sendDenied:            "send_denied",             // by a firewall, or a broadcast address
	sendRefused:           "send_refused",            // ICMP errors, twice in a row
	socketClosed:          "socket_closed",           // the relayed address is gone
}

func (r reason) String() string {
	if int(r) < turn.ReasonCount {
		return turn.Reason(r).String()
	}
	return reasonNames[r]
}

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
		return reason(turn.TooLarge)
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return sendBufferFull
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN:
		return unreachable
	case unix.EPERM, unix.EACCES:
		return sendDenied
	case unix.ECONNREFUSED:
		return sendRefused
	case unix.EBADF:
		return socketClosed
	}
	return reason(turn.SendFailed)
}
