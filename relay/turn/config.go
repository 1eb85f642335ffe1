// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"time"
)

// Config is what the core needs to know. It is a value: a server never changes
// the one that it was given, and Server.Reconfigure replaces it whole. The
// caller must not change the map, the slices or the Policy afterwards.
type Config struct {
	// Realm is announced in challenges and is part of every long-term key
	// (RFC 8489 §9.2.2). An allocation keeps the realm that it was made under.
	Realm string
	// NonceKey authenticates nonces. Another key makes all nonces stale, which
	// costs each client one round trip.
	NonceKey [32]byte
	// NonceLifetime is how long a nonce is accepted; zero stands for 10 minutes.
	NonceLifetime time.Duration
	// Users are the long-term credentials, password by name. Both are used as
	// they stand: whoever fills the map applies OpaqueString (RFC 8265) first.
	Users map[string]string
	// SharedSecret, if not empty, adds time-limited credentials: the user name
	// is EXPIRY:ID or EXPIRY, a Unix time in seconds, and the password the base64
	// of the HMAC-SHA1 of the user name. They are good before that second, for
	// each request anew. Quotas, ownership and the log go by the ID, so that a
	// client can go on with a newer credential of the same ID; an ID that equals
	// a name of Users counts as that user. A name in Users is never read so.
	SharedSecret string

	// RelayIPv4 is the local address of relayed transport addresses.
	RelayIPv4 netip.Addr
	// PublicIPv4 is what clients and peers see instead of RelayIPv4 behind 1:1
	// NAT; without NAT it equals RelayIPv4, and the zero Addr means that.
	PublicIPv4 netip.Addr
	// OwnAddresses are the relay host's own; see Policy for when one of them
	// may be a peer.
	OwnAddresses []netip.Addr
	// LowestPort and HighestPort bound relayed ports, both included.
	LowestPort, HighestPort uint16

	// DefaultLifetime and MaxLifetime bound what an Allocate or Refresh gets;
	// zero stands for 10 minutes and for one hour.
	DefaultLifetime, MaxLifetime time.Duration
	// PerUser bounds the relayed transport addresses that one user holds,
	// reserved ones included; Total bounds those of the relay. 0: no bound.
	PerUser, Total int

	// Policy is who may be a peer. Nil is the built-in deny list alone.
	Policy *Policy

	// UnauthenticatedPerSecond bounds the answers per second to requests that
	// carry no valid credentials, for each source prefix (IPv4 /24, IPv6 /56);
	// twice as many may come at once. 0 stands for 1000.
	UnauthenticatedPerSecond int
}

// What the standard fixes (RFC 8656 §§3.2, 3.3, 7.2, 9 and 12).
const (
	// PermissionLifetime is how long a permission lives unless refreshed.
	PermissionLifetime = 5 * time.Minute
	// ChannelLifetime is how long a channel lives unless refreshed.
	ChannelLifetime = 10 * time.Minute
	// ReservationLifetime is how long the odd port of a pair is held.
	ReservationLifetime = 30 * time.Second
	// LowestChannel and HighestChannel bound channel numbers. RFC 8656 ends
	// them at 0x4FFF; clients of RFC 5766 may use the rest.
	LowestChannel, HighestChannel uint16 = 0x4000, 0x7FFF
)

// An authenticated client is trusted with an allocation, not with the relay's
// memory: each one holds at most so many, and is refused more with 508.
const (
	maxPermissions = 1024
	maxChannels    = 1024
)

// normalized fills in what zero values stand for.
func (c Config) normalized() Config {
	if c.NonceLifetime <= 0 {
		c.NonceLifetime = 10 * time.Minute
	}
	if c.DefaultLifetime <= 0 {
		c.DefaultLifetime = 10 * time.Minute
	}
	if c.MaxLifetime <= 0 {
		c.MaxLifetime = time.Hour
	}
	c.MaxLifetime = max(c.MaxLifetime, c.DefaultLifetime)
	c.RelayIPv4 = c.RelayIPv4.Unmap()
	c.PublicIPv4 = c.PublicIPv4.Unmap()
	if !c.PublicIPv4.IsValid() {
		c.PublicIPv4 = c.RelayIPv4
	}
	if c.UnauthenticatedPerSecond <= 0 {
		c.UnauthenticatedPerSecond = 1000
	}
	if c.Policy == nil {
		c.Policy = NewPolicy(nil, nil)
	}
	return c
}

// lifetime is what a client gets that asks for so many seconds, or for nothing
// (RFC 8656 §7.2): never less than the default, never more than the maximum.
func (c *Config) lifetime(seconds uint32, asked bool) time.Duration {
	if !asked {
		return c.DefaultLifetime
	}
	return max(c.DefaultLifetime, min(time.Duration(seconds)*time.Second, c.MaxLifetime))
}
