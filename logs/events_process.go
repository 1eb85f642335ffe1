// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"fmt"
	"strings"
)

// Started says that the relay serves from here on.
type Started struct {
	Version    string   `json:"version"`
	PID        int      `json:"pid"`
	Listen     []Addr   `json:"listen"`
	Public     []string `json:"public"`
	ConfigFile *string  `json:"config_file"` // null: the embedded default
	Generation uint32   `json:"generation"`
}

func (Started) Name() string       { return "relay.started" }
func (Started) Severity() Severity { return Info }
func (e Started) Message() string {
	from := "its embedded default config"
	if e.ConfigFile != nil {
		from = *e.ConfigFile
	}
	listen := make([]string, len(e.Listen))
	for i, a := range e.Listen {
		listen[i] = a.String()
	}
	return fmt.Sprintf("plumbline %s started with pid %d on %s from %s", e.Version, e.PID, strings.Join(listen, ", "), from)
}

// Stopping says that the relay has begun to end.
type Stopping struct {
	Reason      string  `json:"reason"`
	Allocations int     `json:"allocations"`
	UptimeS     float64 `json:"uptime_s"`
}

func (Stopping) Name() string       { return "relay.stopping" }
func (Stopping) Severity() Severity { return Info }
func (e Stopping) Message() string {
	return fmt.Sprintf("stopping (%s) with %s after %.1f s", e.Reason, count(e.Allocations, "allocation"), e.UptimeS)
}

// Stopped is the relay's last word before the log closes.
type Stopped struct {
	Reason      string  `json:"reason"`
	Allocations int     `json:"allocations"`
	UptimeS     float64 `json:"uptime_s"`
}

func (Stopped) Name() string       { return "relay.stopped" }
func (Stopped) Severity() Severity { return Info }
func (e Stopped) Message() string {
	return fmt.Sprintf("stopped (%s) after %.1f s", e.Reason, e.UptimeS)
}

// OffloadAttached was read from the kernel after attaching, not assumed.
type OffloadAttached struct {
	Interface          string `json:"interface"`
	Ifindex            int    `json:"ifindex"`
	Mode               string `json:"mode" enum:"native,generic"`
	ProgramID          uint32 `json:"program_id"`
	ProgramTag         string `json:"program_tag"`
	RouterInstructions uint32 `json:"router_instructions"`
}

func (OffloadAttached) Name() string       { return "offload.attached" }
func (OffloadAttached) Severity() Severity { return Info }
func (e OffloadAttached) Message() string {
	return fmt.Sprintf("router attached to %s in %s mode (program %d, tag %s, %d verified instructions)",
		e.Interface, e.Mode, e.ProgramID, e.ProgramTag, e.RouterInstructions)
}

// OffloadDetached says that the router no longer sees the interface's packets.
type OffloadDetached struct {
	Interface string `json:"interface"`
	Reason    string `json:"reason"`
}

func (OffloadDetached) Name() string       { return "offload.detached" }
func (OffloadDetached) Severity() Severity { return Info }
func (e OffloadDetached) Message() string {
	return fmt.Sprintf("router detached from %s: %s", e.Interface, e.Reason)
}

// OffloadTransmitFailing says that the device counted XDP_TX frames as errors
// instead of sending them.
type OffloadTransmitFailing struct {
	Interface   string `json:"interface"`
	Mode        string `json:"mode" enum:"native,generic"`
	TxErrors    uint64 `json:"tx_errors"`
	Consequence string `json:"consequence" enum:"generic,userspace"`
}

func (OffloadTransmitFailing) Name() string       { return "offload.transmit_failing" }
func (OffloadTransmitFailing) Severity() Severity { return Error }
func (e OffloadTransmitFailing) Message() string {
	return fmt.Sprintf("%s swallowed %d frames that the router sent in %s mode, going on with %s",
		e.Interface, e.TxErrors, e.Mode, e.Consequence)
}

// OffloadUnavailable says that the kernel path was wanted and can't be had.
type OffloadUnavailable struct {
	Interface   string `json:"interface"`
	Intended    bool   `json:"intended"`
	Reason      string `json:"reason"`
	Consequence string `json:"consequence" enum:"userspace,exit"`
}

func (OffloadUnavailable) Name() string       { return "offload.unavailable" }
func (OffloadUnavailable) Severity() Severity { return Error }
func (e OffloadUnavailable) Message() string {
	then := "everything is relayed in user space"
	if e.Consequence == "exit" {
		then = "offload.required is set, so the relay exits"
	}
	return fmt.Sprintf("kernel path unavailable on %s: %s; %s", e.Interface, e.Reason, then)
}
