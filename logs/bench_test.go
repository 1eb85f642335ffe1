// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"plumbline/logs"
)

func BenchmarkLog(b *testing.B) {
	addr := logs.Addr{AddrPort: netip.MustParseAddrPort("198.51.100.4:40112")}
	at := logs.Time{Time: time.Now()}
	id := "a-17"
	for name, ev := range map[string]logs.Event{
		"channel.bound": logs.ChannelBound{Allocation: id, Channel: 0x4000, Peer: addr, Expires: at},
		"route.decision": logs.RouteDecision{Allocation: &id, Client: addr, Channel: 0x4000, Peer: addr, Direction: "to_peer", Datapath: "kernel",
			Verdict: "relay", Reason: "channel4>udp4", Generation: 7, Change: "summary", Packets: 4811, Bytes: 769760, WindowMS: 10000},
	} {
		b.Run(name, func(b *testing.B) {
			w, err := logs.NewWriter(logs.WriterOptions{Dir: b.TempDir(), Relay: "edge-1", Version: "bench", QueueBytes: 64 << 20, QueueLines: 1 << 20,
				Settings: logs.Settings{MaxSize: 1 << 40}})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				w.Log(ev)
			}
			b.StopTimer()
			dropped := w.Status().Dropped
			if err := w.Close("shutdown"); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(dropped)/float64(b.N), "dropped/op")
		})
	}
}

// BenchmarkLogWithoutDisk is what a caller pays when the disk does not answer.
func BenchmarkLogWithoutDisk(b *testing.B) {
	dir := b.TempDir() + "/file"
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	w, err := logs.NewWriter(logs.WriterOptions{Dir: dir, QueueLines: 1})
	if err != nil {
		b.Fatal(err)
	}
	ev := logs.PermissionCreated{Allocation: "a-17", Peer: "192.0.2.9", Expires: logs.Time{Time: time.Now()}}
	b.ReportAllocs()
	for b.Loop() {
		w.Log(ev)
	}
	_ = w.Close("shutdown")
}
