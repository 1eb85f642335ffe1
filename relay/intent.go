// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"plumbline/bpf"
	"plumbline/relay/config"
	"plumbline/relay/turn"
)

// addresses are the relay's own, found out once at start.
type addresses struct {
	relayed netip.Addr   // what relayed transport addresses carry on the wire
	public  netip.Addr   // what clients are told instead
	own     []netip.Addr // every address of this host
}

// findAddresses settles which IPv4 address relayed transport addresses get: the
// listen address where it is a specific one, else the first of the offload
// interface, else the first of this host that is not loopback.
func findAddresses(cfg *config.Config) (addresses, error) {
	var a addresses
	ifaces, err := net.Interfaces()
	if err != nil {
		return a, fmt.Errorf("listing this host's interfaces: %w", err)
	}
	var onInterface, global netip.Addr
	for _, ifc := range ifaces {
		addrs, err := ifc.Addrs()
		if err != nil {
			return a, fmt.Errorf("listing the addresses of %s: %w", ifc.Name, err)
		}
		for _, addr := range addrs {
			prefix, err := netip.ParsePrefix(addr.String())
			if err != nil {
				continue
			}
			ip := prefix.Addr().Unmap()
			a.own = append(a.own, ip)
			if !ip.Is4() || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
				continue
			}
			if ifc.Name == cfg.Offload.Interface && !onInterface.IsValid() {
				onInterface = ip
			}
			if !global.IsValid() {
				global = ip
			}
		}
	}
	for _, l := range cfg.Listen {
		if ip := l.Addr().Unmap(); ip.Is4() && !ip.IsUnspecified() {
			a.relayed = ip
			break
		}
	}
	for _, candidate := range []netip.Addr{onInterface, global} {
		if !a.relayed.IsValid() {
			a.relayed = candidate
		}
	}
	if !a.relayed.IsValid() {
		return a, fmt.Errorf("this host has no IPv4 address for relayed transport addresses: give an interface one, or listen on a specific IPv4 address such as 127.0.0.1:3478")
	}
	a.public = a.relayed
	if cfg.Public.IPv4.IsValid() {
		a.public = cfg.Public.IPv4
		a.own = append(a.own, a.public)
	}
	return a, nil
}

// coreConfig is the part of the config that the TURN core works by.
func coreConfig(cfg *config.Config, a addresses, nonceKey [32]byte) turn.Config {
	users := make(map[string]string, len(cfg.Auth.Users))
	for _, u := range cfg.Auth.Users {
		users[u.Name] = u.Password
	}
	return turn.Config{
		Realm: cfg.Relay.Realm, NonceKey: nonceKey, NonceLifetime: cfg.Auth.NonceLifetime,
		Users: users, SharedSecret: cfg.Auth.SharedSecret,
		RelayIPv4: a.relayed, PublicIPv4: a.public, OwnAddresses: a.own,
		LowestPort: cfg.Allocations.LowestPort, HighestPort: cfg.Allocations.HighestPort,
		DefaultLifetime: cfg.Allocations.DefaultLifetime, MaxLifetime: cfg.Allocations.MaxLifetime,
		PerUser: cfg.Allocations.PerUser, Total: cfg.Allocations.Total,
		Policy: turn.NewPolicy(cfg.Peers.Allow, cfg.Peers.Deny),
	}
}

// RouterConfig is the part of a config that the router works by.
func RouterConfig(cfg *config.Config, generation uint32) bpf.Config {
	var ports []uint16
	for _, l := range cfg.Listen {
		if l.Addr().Unmap().Is4() && !slices.Contains(ports, l.Port()) {
			ports = append(ports, l.Port())
		}
	}
	return bpf.Config{
		Generation: generation, Enabled: cfg.Offload.Enabled, UDPChecksum: cfg.Offload.UDPChecksum,
		LowestPort: cfg.Allocations.LowestPort, HighestPort: cfg.Allocations.HighestPort, ListenPorts: ports,
	}
}
