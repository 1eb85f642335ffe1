// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// coturn's client, four clients with 300 messages each way, on the default
// config: none lost, and nearly all relayed by the kernel.
func TestCoturnClientThroughTheKernel(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	s := play(t, testbed.Options{}, stage.Config{})
	s.wait("offload.attached", 0, nil)
	if err := stage.StartPeer(s.ctx, s.bed.Host("peer")); err != nil {
		t.Fatal(err)
	}
	got, err := stage.Uclient{Server: s.bed.Host("relay").Addr(), Peer: s.bed.Host("peer").Addr(), Clients: 4, Messages: 300, Length: 171}.Run(s.ctx, s.bed.Host("client"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Sent != 1200 || got.Lost != 0 {
		t.Fatalf("sent %d, received %d:\n%s", got.Sent, got.Received, got.Output)
	}
	lines := s.stop()
	var final logs.DatapathCounters
	for _, l := range lines {
		if l.Event == "datapath.counters" {
			if err := l.Decode(&final); err != nil {
				t.Fatal(err)
			}
		}
	}
	data := final.Kernel.Relayed + final.Userspace.Relayed
	if !final.Final || final.Kernel.Relayed*100 < data*95 || data < 2400 {
		t.Fatalf("the kernel relayed %d of %d data packets (final: %t), want 95 %% of at least 2400\n%+v", final.Kernel.Relayed, data, final.Final, final)
	}
}
