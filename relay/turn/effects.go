// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"time"

	"plumbline/logs"
)

// FiveTuple identifies a client's connection to the relay (RFC 8656 §2). The
// transport is always UDP here.
type FiveTuple struct {
	Client netip.AddrPort // where the client's datagrams come from
	Server netip.AddrPort // the local address that they were sent to
}

// An Effect is something that the core wants done. Effects are executed in
// order: a Publish that stands before a Send is in force before the bytes
// leave.
type Effect interface{ effect() }

// Send is a datagram to a client, from the address that the client asked.
type Send struct {
	To      FiveTuple
	Payload []byte // valid until the next call into the core
}

// Bind asks for a UDP socket on a relayed transport address. The executor
// answers with Server.Bound, at once or later.
type Bind struct{ Relayed netip.AddrPort }

// Release gives back a relayed transport address that Bind took.
type Release struct{ Relayed netip.AddrPort }

// Publish replaces what both datapaths know of one allocation. Data packets are
// decided from the last published View alone.
type Publish struct{ View *View }

// Withdraw ends an allocation in both datapaths. The executor completes the
// event with what each datapath relayed before it logs it.
type Withdraw struct {
	ID    string
	Event logs.AllocationDeleted
}

// Report is an event for the log.
type Report struct{ Event logs.Event }

func (Send) effect()     {}
func (Bind) effect()     {}
func (Release) effect()  {}
func (Publish) effect()  {}
func (Withdraw) effect() {}
func (Report) effect()   {}

// View is one allocation as the datapaths see it: immutable, complete, with
// every expiry, so that a datapath can enforce them alone.
type View struct {
	ID      string
	User    string
	Tuple   FiveTuple
	Relayed netip.AddrPort // local: what packets carry on the wire
	Public  netip.AddrPort // what the client was told
	// Guarded is an address of which only the relayed ports of live
	// allocations may be reached: the relay's own public one, which a client
	// may permit because its peer may be another client. Zero: none.
	Guarded netip.Addr
	Created time.Time
	Expires time.Time
	// Permissions by peer address (IPv4 unmapped).
	Permissions map[netip.Addr]time.Time
	Channels    []ChannelView // in order of their numbers

	index viewIndex
}

// ChannelView is one bound channel.
type ChannelView struct {
	Number  uint16         // 0x4000 to 0x7FFF
	Peer    netip.AddrPort // as the client wrote it, which is what it is told back
	Expires time.Time
}
