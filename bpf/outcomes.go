// SPDX-License-Identifier: Apache-2.0

package bpf

import "fmt"

// Verdict is what the router did with a frame.
type Verdict string

// The verdicts.
const (
	RelayTX       Verdict = "relay_tx"       // sent from the interface it came in on
	RelayRedirect Verdict = "relay_redirect" // sent from another one
	Pass          Verdict = "pass"           // left untouched to the host's stack
	Drop          Verdict = "drop"
)

// Direction is the way of a packet through the relay.
type Direction string

// The directions. It is None where a frame was decided before its ports told.
const (
	None     Direction = "none"
	ToPeer   Direction = "to_peer"   // to a listen port
	ToClient Direction = "to_client" // to a relayed port
)

// Outcome is one of the ways in which a frame can leave the router: a verdict,
// in a direction, for a reason. README.md explains each reason.
type Outcome struct {
	Verdict   Verdict
	Direction Direction
	Reason    string
}

// String is the name that the outcome has in the kernel's map.
func (o Outcome) String() string {
	return fmt.Sprintf("%s_%s_%s", o.Verdict, o.Direction, o.Reason)
}

// outcomes are in the order of outcomes.h: the nth is counted in word
// firstOutcome + n of struct counters.
var outcomes = [...]Outcome{
	{Pass, None, "config_unset"},
	{Pass, None, "lease_expired"},
	{Pass, None, "disabled"},
	{Pass, None, "not_ipv4"},
	{Pass, None, "vlan"},
	{Pass, None, "bad_header"},
	{Pass, None, "not_udp"},
	{Pass, None, "ip_options"},
	{Pass, None, "fragment"},
	{Pass, None, "not_ours"},
	{Pass, None, "multi_buffer"},
	{Pass, ToPeer, "multi_buffer"},
	{Pass, ToClient, "multi_buffer"},
	{Pass, ToPeer, "bad_length"},
	{Pass, ToClient, "bad_length"},
	{Pass, ToPeer, "martian"},
	{Pass, ToClient, "martian"},
	{Pass, ToPeer, "not_channel_data"},
	{Pass, ToPeer, "padded_channel_data"},
	{Pass, ToPeer, "truncated_channel_data"},
	{Pass, ToPeer, "no_route"},
	{Pass, ToClient, "no_route"},
	{Pass, ToPeer, "route_changed"},
	{Pass, ToClient, "route_changed"},
	{Pass, ToPeer, "expired"},
	{Pass, ToClient, "expired"},
	{Pass, ToPeer, "no_next_hop"},
	{Pass, ToClient, "no_next_hop"},
	{Pass, ToPeer, "unsupported_flow"},
	{Pass, ToClient, "unsupported_flow"},
	{Pass, ToPeer, "ttl"},
	{Pass, ToClient, "ttl"},
	{Pass, ToPeer, "too_big"},
	{Pass, ToClient, "too_big"},
	{Pass, ToPeer, "no_headroom"},
	{Pass, ToClient, "no_headroom"},
	{RelayTX, ToPeer, "routed"},
	{RelayTX, ToClient, "routed"},
	{RelayRedirect, ToPeer, "routed"},
	{RelayRedirect, ToClient, "routed"},
	{Drop, ToPeer, "rewrite_failed"},
	{Drop, ToClient, "rewrite_failed"},
}

// words of struct counters before the outcomes'
const (
	wordReceived = iota
	wordDecisionsLost
	firstOutcome
	counterWords = firstOutcome + len(outcomes)
)

// Outcomes lists all there are.
func Outcomes() []Outcome { return append([]Outcome(nil), outcomes[:]...) }
