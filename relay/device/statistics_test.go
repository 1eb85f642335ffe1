// SPDX-License-Identifier: Apache-2.0

package device

import (
	"errors"
	"testing"
)

// TestTransmitErrorNames uses the names of statistics of drivers that support
// XDP, with those beside them that must not count.
func TestTransmitErrorNames(t *testing.T) {
	for name, tc := range map[string]struct {
		stats []Counter
		want  uint64
		ok    bool
	}{
		"none at all": {nil, 0, false},
		"a driver without": {[]Counter{
			{"rx_packets", 5}, {"tx_errors", 5}, {"rx_queue_0_drops", 5}, {"queue_0_rx_xdp_tx", 5}, {"rx_xdp_drop", 5},
		}, 0, false},
		"veth": {[]Counter{
			{"rx_queue_0_xdp_packets", 100}, {"rx_queue_0_drops", 100}, {"rx_queue_0_xdp_drops", 100}, {"rx_queue_0_xdp_tx", 100},
			{"rx_queue_0_xdp_tx_errors", 1}, {"rx_queue_1_xdp_tx_errors", 2}, {"tx_queue_0_xdp_xmit", 100}, {"tx_queue_0_xdp_xmit_errors", 4},
		}, 7, true},
		"veth, none yet": {[]Counter{{"rx_queue_0_xdp_tx_errors", 0}}, 0, true},
		"virtio_net with totals": {[]Counter{
			{"rx_xdp_tx", 100}, {"rx_xdp_drops", 100}, {"tx_xdp_tx", 100}, {"tx_xdp_tx_drops", 9},
			{"rx0_xdp_drops", 100}, {"tx0_xdp_tx_drops", 4}, {"tx1_xdp_tx_drops", 5},
		}, 9, true},
		"virtio_net, older": {[]Counter{{"rx_queue_0_xdp_drops", 100}, {"tx_queue_0_xdp_tx_drops", 4}, {"tx_queue_1_xdp_tx_drops", 5}}, 9, true},
		"mlx5": {[]Counter{
			{"rx_xdp_drop", 100}, {"rx_xdp_redirect", 100}, {"rx_xdp_tx_xmit", 100}, {"rx_xdp_tx_full", 1}, {"rx_xdp_tx_err", 2}, {"rx_xdp_tx_cqe", 100},
			{"tx_xdp_xmit", 100}, {"tx_xdp_full", 4}, {"tx_xdp_err", 8}, {"rx0_xdp_tx_full", 1}, {"rx0_xdp_tx_err", 1}, {"rx1_xdp_tx_err", 1}, {"tx0_xdp_err", 8},
		}, 15, true},
		"gve":    {[]Counter{{"rx_xdp_tx[0]", 100}, {"rx_xdp_tx_errors[0]", 1}, {"rx_xdp_tx_errors[1]", 2}, {"tx_xdp_xmit_errors[0]", 4}, {"rx_xdp_redirect_errors[0]", 100}}, 7, true},
		"mvneta": {[]Counter{{"rx_xdp_tx", 100}, {"rx_xdp_tx_errors", 1}, {"tx_xdp_xmit", 100}, {"tx_xdp_xmit_errors", 2}}, 3, true},
	} {
		got, err := sumTransmitErrors(tc.stats)
		if got != tc.want || tc.ok && err != nil || !tc.ok && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %d, %v, want %d, known: %t", name, got, err, tc.want, tc.ok)
		}
	}
}
