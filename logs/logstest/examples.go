// SPDX-License-Identifier: Apache-2.0

package logstest

import (
	"net/netip"
	"time"

	"plumbline/logs"
)

// Examples is at least one filled event of every kind in the catalogue, and of
// those whose sentence depends on their fields, one of each sentence.
func Examples() []logs.Event {
	at := logs.Time{Time: time.Date(2026, 11, 24, 3, 32, 14, 2_000_000, time.UTC)}
	addr := func(s string) logs.Addr { return logs.Addr{AddrPort: netip.MustParseAddrPort(s)} }
	client, peer, relayed := addr("198.51.100.4:40112"), addr("192.0.2.9:9000"), addr("203.0.113.7:50012")
	relayed6 := addr("[2001:db8::7]:50012")
	file, next := "relay-20261124T032212.120Z.log", "relay-20261124T042212.120Z.log"
	path, native, tag := "/etc/plumbline/relay.yaml", "native", "3b185187f1855c4c"
	slot, yes, no := uint32(1), true, false
	id := "a-17"
	intended := logs.RouterConfig{ABI: 1, Generation: 7, Enabled: true, UDPChecksum: true, LowestPort: 50000, HighestPort: 50999, ListenPorts: []uint16{3478}}
	blank := logs.RouterConfig{ListenPorts: []uint16{}, Valid: &no}
	diff := []logs.Difference{{Field: "lowest_port", Intended: 50000, Kernel: 0}, {Field: "highest_port", Intended: 50999, Kernel: 0}}
	route := logs.Route{Allocation: id, Client: client, Channel: 0x4000, Peer: peer, Relayed: relayed,
		Paths: []string{"channel4>udp4", "udp4>channel4"}, Generation: 7, Expires: at}
	side := logs.RouteSide{Key: "198.51.100.4:40112 → 203.0.113.7:3478 channel 0x4000", Flow: 12,
		Rewrite: "203.0.113.7:50012 → 192.0.2.9:9000", Ifindex: 2, SrcMAC: "02:00:00:00:00:01", DstMAC: "02:00:00:00:00:02", ExpiryNS: 81_000_000_000}
	other := side
	other.Flow = 13
	shares := logs.Shares{Kernel: logs.Traffic{Packets: 4811, Bytes: 769760}, Userspace: logs.Traffic{Packets: 3, Bytes: 480}}
	counters := logs.Counters{Received: 9640, Relayed: 9622, Passed: 17, Dropped: 1,
		Reasons: map[string]uint64{"channel4>udp4": 4811, "udp4>channel4": 4811, "not_channel_data": 17, "ttl": 1}}
	digest := "4cf2d1a0c9d0f2e35be2d5b2a1c8f4cb0f31fb6c16f0a6f5f8f0b6f0f6f4d3a1"

	return []logs.Event{
		logs.Opened{Schema: logs.Schema, Version: "0.1", File: file},
		logs.Opened{Schema: logs.Schema, Version: "0.1", File: next, Previous: &file, RecoveredBytes: 113},
		logs.Closed{Next: &next, Lines: 48211, Reason: "size"},
		logs.Closed{Lines: 12, Reason: "shutdown"},
		logs.Dropped{Count: 40, FirstSeq: 1201, LastSeq: 1240, Reason: "queue_full"},
		logs.Dropped{Count: 1, FirstSeq: 1201, LastSeq: 1201, Reason: "write_error: no space left on device"},
		logs.Diagnostic{Level: logs.Debug, Text: "the neighbour of 192.0.2.9 is being resolved"},
		logs.Diagnostic{Level: logs.Warn, Text: "the config folder can't be watched", Error: "too many open files"},

		logs.CheckpointStarted{Reason: "file", Generation: 7, Digest: digest, Intended: intended,
			Offload: logs.OffloadState{Intended: true, Attached: true, Mode: &native, ProgramTag: &tag}, Allocations: 1},
		logs.CheckpointStarted{Reason: "hole", Generation: 7, Digest: digest, Intended: intended, Allocations: 2},
		logs.CheckpointAllocation{Allocation: id, Client: client, Transport: "udp", User: "alice", Relayed: []logs.Addr{relayed, relayed6}, Expires: at,
			Permissions: []logs.CheckpointPermission{{Peer: "192.0.2.9", Expires: at}},
			Channels:    []logs.CheckpointChannel{{Channel: 0x4000, Peer: peer, Expires: at}}, Routes: []logs.Route{route}},
		logs.CheckpointFinished{Allocations: 1, Permissions: 1, Channels: 1, Routes: 1},

		logs.Started{Version: "0.1", PID: 812, Listen: []logs.Addr{addr("0.0.0.0:3478"), addr("[::]:3478")},
			Public: []string{"203.0.113.7", "2001:db8::7"}, ConfigFile: &path, Generation: 1},
		logs.Started{Version: "0.1", PID: 812, Listen: []logs.Addr{addr("127.0.0.1:3478")}, Public: []string{}, Generation: 1},
		logs.Stopping{Reason: "signal", Allocations: 3, UptimeS: 86400.5},
		logs.Stopped{Reason: "signal", UptimeS: 86401.25},
		logs.OffloadAttached{Interface: "eth0", Ifindex: 2, Mode: "native", ProgramID: 41, ProgramTag: tag, RouterInstructions: 3120},
		logs.OffloadDetached{Interface: "eth0", Reason: "shutdown"},
		logs.OffloadTransmitFailing{Interface: "eth0", Mode: "native", TxErrors: 512, Consequence: "generic"},
		logs.OffloadUnavailable{Interface: "eth7", Intended: true, Reason: "no such interface", Consequence: "userspace"},
		logs.OffloadUnavailable{Interface: "eth7", Intended: true, Reason: "no such interface", Consequence: "exit"},

		logs.ConfigLoaded{Generation: 7, Path: &path, Digest: digest, Source: "watch", Changes: []logs.Change{
			{Field: "allocations.ports", From: "49152-65535", To: "50000-50999"}, {Field: "auth.users", From: []string{"alice"}, To: []string{"alice", "bob"}}}},
		logs.ConfigLoaded{Generation: 1, Digest: digest, Source: "start"},
		logs.ConfigRejected{Path: path, Source: "watch", Error: `unknown key "allocation"`, Line: 12, Column: 3, KeptGeneration: 7},
		logs.ConfigApplied{Generation: 7, Digest: digest, Slot: &slot, Intended: intended, Kernel: &intended, Verified: &yes, DurationUS: 41},
		logs.ConfigApplied{Generation: 7, Digest: digest, Slot: &slot, Intended: intended, Kernel: &blank, Verified: &no, Diff: diff, DurationUS: 41},
		logs.ConfigApplied{Generation: 7, Digest: digest, Intended: intended, DurationUS: 3},
		logs.ConfigRolledBack{Generation: 8, KeptGeneration: 7, Step: "write slot 0", Error: "operation not permitted"},
		logs.ConfigObserved{Generation: 7, CPU: 1, Packets: 12},
		logs.ConfigDrifted{Generation: 7, Intended: intended, Kernel: blank, Diff: diff, DetectedBy: "periodic", LastGood: at},
		logs.ConfigDrifted{Generation: 7, Intended: intended, Kernel: blank, Diff: diff, DetectedBy: "apply"},
		logs.ConfigRepaired{Generation: 7, Kernel: intended, Verified: true},
		logs.ConfigRepaired{Generation: 7, Kernel: blank},

		logs.AllocationCreated{Allocation: id, Client: client, Transport: "udp", User: "alice", Relayed: []logs.Addr{relayed, relayed6}, LifetimeS: 600, Expires: at},
		logs.AllocationRefreshed{Allocation: id, LifetimeS: 600, Expires: at},
		logs.AllocationDeleted{Allocation: id, Client: client, Relayed: []logs.Addr{relayed}, Reason: "refreshed_to_zero", AgeS: 61.2, ToPeer: shares, ToClient: shares},
		logs.AllocationRejected{Client: client, User: "alice", Code: 486, Reason: "quota of 10 allocations reached", Count: 31, WindowS: 10},
		logs.PermissionCreated{Allocation: id, Peer: "192.0.2.9", Expires: at},
		logs.PermissionRefreshed{Allocation: id, Peer: "192.0.2.9", Expires: at},
		logs.PermissionExpired{Allocation: id, Peer: "192.0.2.9", Expires: at},
		logs.PermissionDenied{Allocation: id, Peer: "169.254.169.254", Rule: "deny 169.254.0.0/16 (built in)", Code: 403},
		logs.ChannelBound{Allocation: id, Channel: 0x4000, Peer: peer, Expires: at},
		logs.ChannelRefreshed{Allocation: id, Channel: 0x4000, Peer: peer, Expires: at},
		logs.ChannelExpired{Allocation: id, Channel: 0x4000, Peer: peer, Expires: at},
		logs.ChannelRejected{Allocation: id, Channel: 0x4000, Peer: peer, Code: 400, Reason: "the channel is bound to another peer"},
		logs.AuthRejected{Client: client, User: "mallory\n\x1b[2J\xff", Code: 401, Reason: "unknown user", Count: 1, WindowS: 10},

		logs.RouteInstalled{Route: route},
		logs.RouteUpdated{Route: route, Changes: []logs.Change{{Field: "dst_mac", From: "02:00:00:00:00:02", To: "02:00:00:00:00:03"}}},
		logs.RouteRemoved{Allocation: id, Client: client, Channel: 0x4000, Peer: peer, Relayed: relayed, Reason: "the channel expired"},
		logs.RouteFailed{Route: route, Error: "the routes map is full", Datapath: "userspace"},
		logs.RouteDrifted{Class: "missing", Route: route, Direction: "to_peer", Intended: &side},
		logs.RouteDrifted{Class: "unexpected", Direction: "to_peer", Kernel: &side},
		logs.RouteDrifted{Class: "different", Route: route, Direction: "to_client", Intended: &side, Kernel: &other,
			Diff: []logs.Difference{{Field: "flow", Intended: 12, Kernel: 13}}},
		logs.RouteDrifted{Class: "stale", Route: route, Direction: "to_client", Intended: &side, Kernel: &side},
		logs.RouteRepaired{Route: route, Class: "missing", Verified: true},
		logs.RouteRepaired{Class: "unexpected", Verified: false},
		logs.RouteDecision{Allocation: &id, Client: client, Channel: 0x4000, Peer: peer, Direction: "to_peer", Datapath: "kernel", Verdict: "relay",
			Reason: "channel4>udp4", Generation: 7, Change: "first", Packets: 1, Bytes: 160, WindowMS: 20},
		logs.RouteDecision{Allocation: &id, Client: client, Channel: 0x4000, Peer: peer, Direction: "to_client", Datapath: "userspace", Verdict: "drop",
			Reason: "no_permission", Generation: 7, Change: "summary", Packets: 9, Bytes: 1440, WindowMS: 10000},
		logs.RouteDecision{Direction: "to_peer", Datapath: "kernel", Verdict: "pass", Reason: "config_unset", Generation: 7, Change: "summary",
			Packets: 212, Bytes: 33920, WindowMS: 10000, Examples: []string{"198.51.100.4:40112 → 203.0.113.7:3478"}},
		logs.DatapathCounters{Kernel: &logs.KernelCounters{Counters: counters, TxErrors: 0}, Userspace: logs.UserspaceCounters{Counters: counters, Overflowed: 2}, WindowMS: 10000},
		logs.DatapathCounters{WindowMS: 10000, Final: true},
	}
}
