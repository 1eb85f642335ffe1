// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"fmt"
	"strings"
)

// ConfigLoaded says that a file was read and found valid; applying it follows.
type ConfigLoaded struct {
	Generation uint32   `json:"generation"`
	Path       *string  `json:"path"` // null: the embedded default
	Digest     string   `json:"digest"`
	Source     string   `json:"source" enum:"start,watch,signal"`
	Changes    []Change `json:"changes"`
}

func (ConfigLoaded) Name() string       { return "config.loaded" }
func (ConfigLoaded) Severity() Severity { return Info }
func (e ConfigLoaded) Message() string {
	from := "the embedded default"
	if e.Path != nil {
		from = *e.Path
	}
	if e.Source == "start" {
		return fmt.Sprintf("config %d loaded from %s", e.Generation, from)
	}
	if len(e.Changes) == 0 {
		return fmt.Sprintf("config %d loaded from %s (%s), nothing changed", e.Generation, from, e.Source)
	}
	parts := make([]string, len(e.Changes))
	for i, c := range e.Changes {
		parts[i] = fmt.Sprintf("%s %v → %v", c.Field, c.From, c.To)
	}
	return fmt.Sprintf("config %d loaded from %s (%s): %s", e.Generation, from, e.Source, strings.Join(parts, ", "))
}

// ConfigRejected says that a file was refused and changed nothing.
type ConfigRejected struct {
	Path           string `json:"path"`
	Source         string `json:"source" enum:"start,watch,signal"`
	Error          string `json:"error"`
	Line           int    `json:"line"`
	Column         int    `json:"column"`
	KeptGeneration uint32 `json:"kept_generation"`
}

func (ConfigRejected) Name() string       { return "config.rejected" }
func (ConfigRejected) Severity() Severity { return Error }
func (e ConfigRejected) Message() string {
	at := e.Path
	if e.Line == 0 && strings.Contains(e.Error, e.Path) { // it names the file itself
		return fmt.Sprintf("config refused, generation %d stays in force: %s", e.KeptGeneration, e.Error)
	}
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", e.Path, e.Line, e.Column)
	}
	return fmt.Sprintf("config refused, generation %d stays in force: %s: %s", e.KeptGeneration, at, e.Error)
}

// ConfigApplied is a finished transaction. Kernel was read back from the map.
// Where offload is not intended there is no kernel side: Kernel and Verified
// are null.
type ConfigApplied struct {
	Generation uint32        `json:"generation"`
	Digest     string        `json:"digest"`
	Slot       *uint32       `json:"slot"`
	Intended   RouterConfig  `json:"intended"`
	Kernel     *RouterConfig `json:"kernel"`
	Verified   *bool         `json:"verified"`
	Diff       []Difference  `json:"diff"`
	DurationUS int64         `json:"duration_us"`
}

func (ConfigApplied) Name() string { return "config.applied" }
func (e ConfigApplied) Severity() Severity {
	if e.Verified != nil && !*e.Verified {
		return Error
	}
	return Info
}
func (e ConfigApplied) Message() string {
	switch {
	case e.Verified == nil && e.Intended.Enabled:
		return fmt.Sprintf("config %d applied in user space in %d µs, the offload that it intends is not in use", e.Generation, e.DurationUS)
	case e.Verified == nil:
		return fmt.Sprintf("config %d applied in user space in %d µs, offload is not in use", e.Generation, e.DurationUS)
	case *e.Verified:
		return fmt.Sprintf("config %d applied and verified in the kernel in %d µs", e.Generation, e.DurationUS)
	}
	return fmt.Sprintf("config %d applied but the kernel differs: %s", e.Generation, sentence(e.Diff))
}

// ConfigRolledBack says that a step of an apply failed and the config before it
// is in force again.
type ConfigRolledBack struct {
	Generation     uint32 `json:"generation"`
	KeptGeneration uint32 `json:"kept_generation"`
	Step           string `json:"step"`
	Error          string `json:"error"`
}

func (ConfigRolledBack) Name() string       { return "config.rolled_back" }
func (ConfigRolledBack) Severity() Severity { return Error }
func (e ConfigRolledBack) Message() string {
	return fmt.Sprintf("config %d rolled back at step %s, generation %d stays in force: %s", e.Generation, e.Step, e.KeptGeneration, e.Error)
}

// ConfigObserved says that the router decided packets under a generation.
type ConfigObserved struct {
	Generation uint32 `json:"generation"`
	CPU        int    `json:"cpu"`
	Packets    uint64 `json:"packets"`
}

func (ConfigObserved) Name() string       { return "config.observed" }
func (ConfigObserved) Severity() Severity { return Info }
func (e ConfigObserved) Message() string {
	return fmt.Sprintf("config %d seen in effect on cpu %d (%d packets so far)", e.Generation, e.CPU, e.Packets)
}

// ConfigDrifted says that the kernel no longer holds what was applied.
type ConfigDrifted struct {
	Generation uint32       `json:"generation"`
	Intended   RouterConfig `json:"intended"`
	Kernel     RouterConfig `json:"kernel"`
	Diff       []Difference `json:"diff"`
	DetectedBy string       `json:"detected_by" enum:"periodic,status,apply"`
	LastGood   Time         `json:"last_good" null:"yes"` // null: never yet
}

func (ConfigDrifted) Name() string       { return "config.drifted" }
func (ConfigDrifted) Severity() Severity { return Warn }
func (e ConfigDrifted) Message() string {
	return fmt.Sprintf("kernel config differs: %s (intended by config %d)", sentence(e.Diff), e.Generation)
}

// ConfigRepaired says that drift was written over; Kernel was read back after.
type ConfigRepaired struct {
	Generation uint32       `json:"generation"`
	Kernel     RouterConfig `json:"kernel"`
	Verified   bool         `json:"verified"`
}

func (ConfigRepaired) Name() string { return "config.repaired" }
func (e ConfigRepaired) Severity() Severity {
	if !e.Verified {
		return Error
	}
	return Info
}
func (e ConfigRepaired) Message() string {
	if !e.Verified {
		return fmt.Sprintf("kernel config %d written again, but it still differs from what is intended", e.Generation)
	}
	return fmt.Sprintf("kernel config %d repaired and verified", e.Generation)
}

// sentence lists differences as "field intended → kernel".
func sentence(diff []Difference) string {
	if len(diff) == 0 {
		return "no field"
	}
	parts := make([]string, len(diff))
	for i, d := range diff {
		parts[i] = fmt.Sprintf("%s %v → %v", d.Field, d.Intended, d.Kernel)
	}
	return strings.Join(parts, ", ")
}
