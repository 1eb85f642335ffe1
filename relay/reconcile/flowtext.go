// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net"

	"plumbline/bpf"
	"plumbline/logs"
)

func rewriteText(f bpf.Flow) string {
	if f.Channel == 0 {
		return fmt.Sprintf("%s → %s", f.Source, f.Destination)
	}
	return fmt.Sprintf("%s → %s channel 0x%04x", f.Source, f.Destination, f.Channel)
}

func hopText(f bpf.Flow) string {
	return fmt.Sprintf("device %d, %s → %s", f.Ifindex, net.HardwareAddr(f.SrcMAC[:]), net.HardwareAddr(f.DstMAC[:]))
}

func sideOf(number uint32, f bpf.Flow) *logs.RouteSide {
	return &logs.RouteSide{
		Key: f.Key.String(), Flow: number, Rewrite: rewriteText(f), Ifindex: f.Ifindex,
		SrcMAC: net.HardwareAddr(f.SrcMAC[:]).String(), DstMAC: net.HardwareAddr(f.DstMAC[:]).String(), ExpiryNS: f.ExpiryNS,
	}
}

// compareFlows lists the fields in which the kernel's flow is not the intended
// one.
func compareFlows(intended, kernel bpf.Flow) []logs.Difference {
	var diff []logs.Difference
	field := func(name string, i, k any) {
		if i != k {
			diff = append(diff, logs.Difference{Field: name, Intended: i, Kernel: k})
		}
	}
	field("key", intended.Key.String(), kernel.Key.String())
	field("rewrite", rewriteText(intended), rewriteText(kernel))
	field("next_hop", hopText(intended), hopText(kernel))
	field("mtu", intended.MTU, kernel.MTU)
	field("expiry_ns", intended.ExpiryNS, kernel.ExpiryNS)
	return diff
}
