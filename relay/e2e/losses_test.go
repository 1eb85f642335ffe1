// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"strings"

	"plumbline/relay/testbed"
)

// losses says where the hosts' kernels discarded packets: what a relay that has
// lost nothing needs to show when a client misses some.
func (s *scene) losses() string {
	s.Helper()
	var b strings.Builder
	for _, h := range append(s.bed.Hosts(), s.bed.Switch()) {
		err := h.Do(func() error { return hostLosses(&b, h) })
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", h.Name, err)
		}
	}
	if err := machineLosses(&b); err != nil {
		fmt.Fprintf(&b, "the machine: %v\n", err)
	}
	if b.Len() == 0 {
		return "no host's kernel discarded anything"
	}
	return b.String()
}

// hostLosses runs in the host's namespace. /proc/thread-self/net is the thread's
// own; /proc/net is that of the process.
func hostLosses(b *strings.Builder, h *testbed.Host) error {
	snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return err
	}
	var names []string
	for line := range strings.Lines(string(snmp)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if strings.HasSuffix(name, "Errors") && fields[i] != "0" {
				fmt.Fprintf(b, "%s: Udp %s %s\n", h.Name, name, fields[i])
			}
		}
	}
	links, err := h.Netlink().LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if n := l.Attrs().Statistics; n != nil && n.RxDropped+n.TxDropped+n.RxErrors+n.TxErrors > 0 {
			fmt.Fprintf(b, "%s: %s rx dropped %d errors %d, tx dropped %d errors %d\n", h.Name, l.Attrs().Name, n.RxDropped, n.RxErrors, n.TxDropped, n.TxErrors)
		}
	}
	return nil
}

// machineLosses are counted over all namespaces.
func machineLosses(b *strings.Builder) error {
	arp, err := os.ReadFile("/proc/net/stat/arp_cache")
	if err != nil {
		return err
	}
	var names []string
	for line := range strings.Lines(string(arp)) {
		fields := strings.Fields(line)
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "unresolved_discards" && strings.Trim(fields[i], "0") != "" {
				fmt.Fprintf(b, "the machine: neighbours %s 0x%s\n", name, fields[i])
			}
		}
	}
	softnet, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(softnet)) {
		if f := strings.Fields(line); len(f) > 1 && strings.Trim(f[1], "0") != "" {
			fmt.Fprintf(b, "the machine: backlog dropped 0x%s\n", f[1])
		}
	}
	return nil
}
