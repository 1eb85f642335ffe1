// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"fmt"
	"strings"
)

// AllocationCreated is a new allocation (RFC 8656 §7).
type AllocationCreated struct {
	Allocation string `json:"allocation"`
	Client     Addr   `json:"client"`
	Transport  string `json:"transport" enum:"udp"` // between client and relay
	User       string `json:"user"`
	Relayed    []Addr `json:"relayed"`
	LifetimeS  int64  `json:"lifetime_s"`
	Expires    Time   `json:"expires"`
}

func (AllocationCreated) Name() string       { return "allocation.created" }
func (AllocationCreated) Severity() Severity { return Info }
func (e AllocationCreated) Message() string {
	return fmt.Sprintf("%s of %s at %s allocated %s for %d s", e.Allocation, e.User, e.Client, list(e.Relayed), e.LifetimeS)
}

// AllocationRefreshed is a Refresh with a lifetime above zero (RFC 8656 §8).
type AllocationRefreshed struct {
	Allocation string `json:"allocation"`
	LifetimeS  int64  `json:"lifetime_s"`
	Expires    Time   `json:"expires"`
}

func (AllocationRefreshed) Name() string       { return "allocation.refreshed" }
func (AllocationRefreshed) Severity() Severity { return Info }
func (e AllocationRefreshed) Message() string {
	return fmt.Sprintf("%s refreshed for %d s", e.Allocation, e.LifetimeS)
}

// AllocationDeleted carries what the allocation relayed in its whole life.
type AllocationDeleted struct {
	Allocation string  `json:"allocation"`
	Client     Addr    `json:"client"`
	Relayed    []Addr  `json:"relayed"`
	Reason     string  `json:"reason" enum:"expired,refreshed_to_zero,replaced,admin,shutdown,socket_error"`
	AgeS       float64 `json:"age_s"`
	ToPeer     Shares  `json:"to_peer"`
	ToClient   Shares  `json:"to_client"`
}

func (AllocationDeleted) Name() string       { return "allocation.deleted" }
func (AllocationDeleted) Severity() Severity { return Info }
func (e AllocationDeleted) Message() string {
	return fmt.Sprintf("%s ended (%s) after %.1f s: %d packets to peers and %d to the client in the kernel, %d and %d in user space",
		e.Allocation, e.Reason, e.AgeS, e.ToPeer.Kernel.Packets, e.ToClient.Kernel.Packets,
		e.ToPeer.Userspace.Packets, e.ToClient.Userspace.Packets)
}

// AllocationRejected is a refused Allocate or Refresh. Repeated refusals of one
// client are counted in Count over WindowS and not repeated.
type AllocationRejected struct {
	Client  Addr    `json:"client"`
	User    string  `json:"user"`
	Code    int     `json:"code"`
	Reason  string  `json:"reason"`
	Count   uint64  `json:"count"`
	WindowS float64 `json:"window_s"`
}

func (AllocationRejected) Name() string       { return "allocation.rejected" }
func (AllocationRejected) Severity() Severity { return Warn }
func (e AllocationRejected) Message() string {
	return fmt.Sprintf("allocation for %s refused with %d: %s%s", e.Client, e.Code, e.Reason, times(e.Count, e.WindowS))
}

// PermissionCreated is a new permission (RFC 8656 §9); Peer is an IP address.
type PermissionCreated struct {
	Allocation string `json:"allocation"`
	Peer       string `json:"peer"`
	Expires    Time   `json:"expires"`
}

func (PermissionCreated) Name() string       { return "permission.created" }
func (PermissionCreated) Severity() Severity { return Info }
func (e PermissionCreated) Message() string {
	return fmt.Sprintf("%s may exchange data with %s", e.Allocation, e.Peer)
}

// PermissionRefreshed is a permission that lives longer.
type PermissionRefreshed struct {
	Allocation string `json:"allocation"`
	Peer       string `json:"peer"`
	Expires    Time   `json:"expires"`
}

func (PermissionRefreshed) Name() string       { return "permission.refreshed" }
func (PermissionRefreshed) Severity() Severity { return Info }
func (e PermissionRefreshed) Message() string {
	return fmt.Sprintf("%s permission for %s refreshed", e.Allocation, e.Peer)
}

// PermissionExpired is a permission that ended.
type PermissionExpired struct {
	Allocation string `json:"allocation"`
	Peer       string `json:"peer"`
	Expires    Time   `json:"expires"`
}

func (PermissionExpired) Name() string       { return "permission.expired" }
func (PermissionExpired) Severity() Severity { return Info }
func (e PermissionExpired) Message() string {
	return fmt.Sprintf("%s permission for %s expired", e.Allocation, e.Peer)
}

// PermissionDenied names the rule that refused a peer; repeats are counted.
type PermissionDenied struct {
	Allocation string  `json:"allocation"`
	Peer       string  `json:"peer"`
	Rule       string  `json:"rule"`
	Code       int     `json:"code"`
	Count      uint64  `json:"count"`
	WindowS    float64 `json:"window_s"`
}

func (PermissionDenied) Name() string       { return "permission.denied" }
func (PermissionDenied) Severity() Severity { return Warn }
func (e PermissionDenied) Message() string {
	return fmt.Sprintf("%s may not reach %s (%d): %s%s", e.Allocation, e.Peer, e.Code, e.Rule, times(e.Count, e.WindowS))
}

// ChannelBound is a new channel (RFC 8656 §12).
type ChannelBound struct {
	Allocation string  `json:"allocation"`
	Channel    Channel `json:"channel"`
	Peer       Addr    `json:"peer"`
	Expires    Time    `json:"expires"`
}

func (ChannelBound) Name() string       { return "channel.bound" }
func (ChannelBound) Severity() Severity { return Info }
func (e ChannelBound) Message() string {
	return fmt.Sprintf("%s channel %s bound to %s", e.Allocation, e.Channel, e.Peer)
}

// ChannelRefreshed is a channel that lives longer.
type ChannelRefreshed struct {
	Allocation string  `json:"allocation"`
	Channel    Channel `json:"channel"`
	Peer       Addr    `json:"peer"`
	Expires    Time    `json:"expires"`
}

func (ChannelRefreshed) Name() string       { return "channel.refreshed" }
func (ChannelRefreshed) Severity() Severity { return Info }
func (e ChannelRefreshed) Message() string {
	return fmt.Sprintf("%s channel %s to %s refreshed", e.Allocation, e.Channel, e.Peer)
}

// ChannelExpired is a channel that ended.
type ChannelExpired struct {
	Allocation string  `json:"allocation"`
	Channel    Channel `json:"channel"`
	Peer       Addr    `json:"peer"`
	Expires    Time    `json:"expires"`
}

func (ChannelExpired) Name() string       { return "channel.expired" }
func (ChannelExpired) Severity() Severity { return Info }
func (e ChannelExpired) Message() string {
	return fmt.Sprintf("%s channel %s to %s expired", e.Allocation, e.Channel, e.Peer)
}

// ChannelRejected is a refused ChannelBind; repeats are counted.
type ChannelRejected struct {
	Allocation string  `json:"allocation"`
	Channel    Channel `json:"channel"`
	Peer       Addr    `json:"peer"`
	Code       int     `json:"code"`
	Reason     string  `json:"reason"`
	Count      uint64  `json:"count"`
	WindowS    float64 `json:"window_s"`
}

func (ChannelRejected) Name() string       { return "channel.rejected" }
func (ChannelRejected) Severity() Severity { return Warn }
func (e ChannelRejected) Message() string {
	return fmt.Sprintf("%s channel %s to %s refused with %d: %s%s", e.Allocation, e.Channel, e.Peer, e.Code, e.Reason, times(e.Count, e.WindowS))
}

// AuthRejected is a request with wrong credentials; repeats are counted.
type AuthRejected struct {
	Client  Addr    `json:"client"`
	User    string  `json:"user"`
	Code    int     `json:"code"`
	Reason  string  `json:"reason"`
	Count   uint64  `json:"count"`
	WindowS float64 `json:"window_s"`
}

func (AuthRejected) Name() string       { return "auth.rejected" }
func (AuthRejected) Severity() Severity { return Warn }
func (e AuthRejected) Message() string {
	return fmt.Sprintf("credentials of %q from %s refused with %d: %s%s", e.User, e.Client, e.Code, e.Reason, times(e.Count, e.WindowS))
}

func times(n uint64, window float64) string {
	if n <= 1 {
		return ""
	}
	return fmt.Sprintf(" (%d times in %.0f s)", n, window)
}

func list(addrs []Addr) string {
	parts := make([]string, len(addrs))
	for i, a := range addrs {
		parts[i] = a.String()
	}
	return strings.Join(parts, " and ")
}
