// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"plumbline/logs"
)

// write prints the report for people.
func (r *report) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, a ...any) { fmt.Fprintf(w, format+"\n", a...) }

	who := r.Relay
	if r.Source == "socket" {
		who += fmt.Sprintf("  run %s  pid %d", r.Run, r.PID)
	} else {
		who += "  (does not answer; the intended side is from its " + r.Source + ")"
	}
	line("relay\t%s", who)
	generation := "not known"
	if r.Generation != 0 {
		generation = fmt.Sprint(r.Generation)
	}
	line("config\tgeneration %s  digest %.12s", generation, r.Digest)
	line("datapath\t%s", r.datapath())
	if r.Allocations != nil {
		line("allocations\t%d", *r.Allocations)
	}
	line("routes\tintended %s  kernel %s%s", number(r.Routes.Intended, "unknown"), number(r.Routes.Kernel, "none"), r.waiting())
	if err := w.Flush(); err != nil {
		return err
	}
	if err := r.writeSides(out); err != nil {
		return err
	}
	switch {
	case r.Verdict == "none":
		_, err := fmt.Fprintln(out, "\noffload is not intended: everything is relayed in user space")
		return err
	case r.Verdict == "same":
		_, err := fmt.Fprintln(out, "\nthe kernel holds what is intended")
		return err
	}
	fmt.Fprintln(out, "\nthe kernel DIFFERS from what is intended:")
	for _, d := range r.Diff {
		fmt.Fprintf(out, "  - intended  %s %v\n  + kernel    %s %v\n", d.Field, d.Intended, d.Field, d.Kernel)
	}
	if r.Routes.Intended != nil && r.Routes.Kernel != nil && *r.Routes.Intended != *r.Routes.Kernel {
		fmt.Fprintf(out, "  - intended  routes %d\n  + kernel    routes %d\n", *r.Routes.Intended, *r.Routes.Kernel)
	}
	if r.Offload.Reason != "" {
		fmt.Fprintf(out, "  reason      %s\n", r.Offload.Reason)
	}
	return nil
}

func (r *report) datapath() string {
	switch {
	case r.Kernel == nil || !r.Kernel.Attached:
		return r.Datapath
	case r.Datapath == "kernel":
		return fmt.Sprintf("kernel (%s on %s, program %d tag %s)", r.Kernel.Mode, device(r), r.Kernel.ProgramID, r.Kernel.ProgramTag)
	}
	return fmt.Sprintf("userspace (the router is attached to %s, and passes everything up)", device(r))
}

func device(r *report) string {
	if r.Offload.Interface != "" {
		return r.Offload.Interface
	}
	return fmt.Sprintf("interface %d", r.Kernel.Ifindex)
}

func (r *report) waiting() string {
	if r.Routes.Waiting == nil || *r.Routes.Waiting == 0 {
		return ""
	}
	return fmt.Sprintf("  (%d channels are relayed in user space)", *r.Routes.Waiting)
}

func number(n *int, without string) string {
	if n == nil {
		return without
	}
	return fmt.Sprint(*n)
}

// writeSides prints the router's config, intended beside kernel.
func (r *report) writeSides(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\n\tintended\tkernel\n")
	k := func(v any) string {
		if r.Kernel == nil {
			return "none"
		}
		return fmt.Sprint(v)
	}
	kernel := logs.RouterConfig{}
	if r.Kernel != nil {
		kernel = r.Kernel.RouterConfig
	}
	generation := "not known"
	if r.Generation != 0 {
		generation = fmt.Sprint(r.Intended.Generation)
	}
	for _, row := range [][3]string{
		{"abi", fmt.Sprint(r.Intended.ABI), k(kernel.ABI)},
		{"generation", generation, k(kernel.Generation)},
		{"enabled", fmt.Sprint(r.Intended.Enabled), k(kernel.Enabled)},
		{"udp_checksum", fmt.Sprint(r.Intended.UDPChecksum), k(kernel.UDPChecksum)},
		{"lowest_port", fmt.Sprint(r.Intended.LowestPort), k(kernel.LowestPort)},
		{"highest_port", fmt.Sprint(r.Intended.HighestPort), k(kernel.HighestPort)},
		{"listen_ports", fmt.Sprint(r.Intended.ListenPorts), k(kernel.ListenPorts)},
	} {
		mark := ""
		if r.Kernel != nil && row[1] != row[2] && row[1] != "not known" {
			mark = "  ←"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s%s\n", row[0], row[1], row[2], mark)
	}
	return w.Flush()
}
