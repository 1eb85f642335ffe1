// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"plumbline/logs"
	"plumbline/relay"
	"plumbline/relay/stage"
)

// incident is the fourth act: someone wipes the router's config behind the
// relay's back. An array map has no "missing": the router reads zeros.
func (s *set) incident() error {
	s.say.act(4, "The incident: both config slots of the kernel blanked, while packets flow")
	t, err := s.start(600)
	if err != nil {
		return err
	}
	if err := t.flowing(); err != nil {
		return err
	}
	var d *drift
	for {
		if d, err = s.wipe(t); err != nil {
			return err
		}
		if d.met.unset > 0 {
			break
		}
		s.say.that("(repaired before a packet came by: once more)")
	}
	if err := t.running(); err != nil {
		return err
	}
	s.say.that("the relay noticed %d ms after the first write and had repaired it %.1f ms later",
		d.noticed.Sub(d.begin).Milliseconds(), float64(d.repaired.Sub(d.noticed).Microseconds())/1000)
	c, err := t.finish()
	if err != nil {
		return err
	}
	if c.kernel <= d.met.kernel {
		return fmt.Errorf("the kernel relayed nothing more after the repair")
	}
	s.say.that("%d packets met zeros and took the slow path through user space; since the repair the kernel relayed %d", c.unset, c.kernel-d.met.kernel)
	s.say.that("%d messages to the peer, %d back, none lost", t.got.Sent, t.got.Received)
	return s.find(d)
}

// drift is what the log says of one wiping.
type drift struct {
	begin, noticed, repaired time.Time
	fields                   []string // those that differed
	met                      carried  // of the traffic's packets, until the repair
}

// wipe blanks the slots and waits until the relay has found and repaired that.
func (s *set) wipe(t *traffic) (*drift, error) {
	seq, err := s.lastSeq()
	if err != nil {
		return nil, err
	}
	begin, err := s.blank()
	if err != nil {
		return nil, err
	}
	drifted, err := s.wait("config.drifted", seq, nil)
	if err != nil {
		return nil, fmt.Errorf("the relay found no drift: %w", err)
	}
	repaired, err := s.wait("config.repaired", drifted.Seq, nil)
	if err != nil {
		return nil, fmt.Errorf("the drift was not repaired: %w", err)
	}
	now, err := s.counters(repaired.Seq, nil) // written just after it
	if err != nil {
		return nil, err
	}
	d := &drift{begin: begin, met: now.since(t.before)}
	if d.fields, err = judge(drifted, repaired); err != nil {
		return nil, err
	}
	if d.noticed, err = timeOf(drifted); err != nil {
		return nil, err
	}
	d.repaired, err = timeOf(repaired)
	return d, err
}

// blank writes zeros over both slots with bpftool, the one in use last, and
// returns when it began.
func (s *set) blank() (time.Time, error) {
	pins := relay.PinFolder(s.relay.Name)
	slots := filepath.Join(pins, "config_slots")
	info, err := s.installed("bpftool", "-j", "map", "show", "pinned", slots)
	if err != nil {
		return time.Time{}, err
	}
	var size struct {
		Bytes int `json:"bytes_value"`
	}
	if err := json.Unmarshal(info, &size); err != nil || size.Bytes == 0 {
		return time.Time{}, fmt.Errorf("bpftool map show told no bytes_value: %v: %s", err, info)
	}
	order := []string{"00", "01"}
	active, err := s.activeSlot(filepath.Join(pins, "config_active"))
	if err != nil {
		return time.Time{}, err
	}
	if active == 0 {
		slices.Reverse(order)
	}
	zeros := slices.Repeat([]string{"00"}, size.Bytes)
	begin := time.Now()
	for _, slot := range order {
		args := []string{"map", "update", "pinned", slots, "key", "hex", slot, "00", "00", "00", "value", "hex"}
		if _, err := s.installed("bpftool", append(args, zeros...)...); err != nil {
			return time.Time{}, err
		}
		s.say.that("$ bpftool %s 00 … (%d zeros)", strings.Join(args, " "), size.Bytes)
	}
	return begin, nil
}

// activeSlot reads which slot the router uses from the raw bytes.
func (s *set) activeSlot(path string) (int, error) {
	out, err := s.installed("bpftool", "-j", "map", "lookup", "pinned", path, "key", "hex", "00", "00", "00", "00")
	if err != nil {
		return 0, err
	}
	var entry struct {
		Value []string `json:"value"` // "0x01", …
	}
	if err := json.Unmarshal(out, &entry); err != nil || len(entry.Value) == 0 {
		return 0, fmt.Errorf("bpftool map lookup told no value: %v: %s", err, out)
	}
	if slices.Contains(entry.Value[:4], "0x01") {
		return 1, nil
	}
	return 0, nil
}

// judge returns the fields that drifted, and fails unless they are those that
// were blanked and the repair was verified.
func judge(drifted, repaired stage.Line) ([]string, error) {
	var d logs.ConfigDrifted
	if err := drifted.Decode(&d); err != nil {
		return nil, err
	}
	var fields []string
	for _, f := range d.Diff {
		fields = append(fields, f.Field)
	}
	for _, want := range []string{"lowest_port", "highest_port", "enabled", "udp_checksum", "listen_ports"} {
		if !slices.Contains(fields, want) {
			return nil, fmt.Errorf("the drift does not name %s: %s", want, drifted.Message)
		}
	}
	var r logs.ConfigRepaired
	if err := repaired.Decode(&r); err != nil {
		return nil, err
	}
	if !r.Verified {
		return nil, fmt.Errorf("the repair was not verified: %s", repaired.Message)
	}
	return fields, nil
}

// find asks the analyser and the relay what an operator would.
func (s *set) find(d *drift) error {
	since := d.begin.UTC().Format("2006-01-02T15:04:05.000Z")
	s.say.line("\n   What the log says of it:")
	if _, err := s.run(0, "analyze", "timeline", "--event", "config.*", "--since", since, s.relay.LogDir); err != nil {
		return err
	}
	s.say.line("\n   Where intent and kernel differed (exit 2: found):")
	text, err := s.run(2, "analyze", "mismatches", "--since", since, s.relay.LogDir)
	if err != nil {
		return err
	}
	for _, want := range append(d.fields, "config-drift", "config_unset", " 0 lost") {
		if !strings.Contains(text, want) {
			return fmt.Errorf("analyze mismatches does not say %q", strings.TrimSpace(want))
		}
	}
	s.say.line("\n   How the two stand now (exit 0: the same):")
	_, err = s.run(0, "relay", "status", "--config", s.relay.ConfigFile)
	return err
}

// readLog is the last act: the relay ends, and its log needs no tool of ours.
func (s *set) readLog() error {
	s.say.act(5, "The same log read by stock jq")
	if err := s.relay.Stop(); err != nil {
		return err
	}
	const filter = `select(.event | test("^config.(drifted|repaired)$")) | "\(.time) \(.severity) \(.message)"`
	files, err := filepath.Glob(filepath.Join(s.relay.LogDir, "*.log"))
	if err != nil {
		return err
	}
	out, err := s.installed("jq", append([]string{"-r", filter}, files...)...)
	if err != nil {
		return err
	}
	s.say.output("jq -r "+quoted([]string{filter})+" "+s.relay.LogDir+"/*.log", string(out))
	for _, want := range []string{"lowest_port", "repaired and verified"} {
		if !strings.Contains(string(out), want) {
			return fmt.Errorf("jq's lines do not say %q", want)
		}
	}
	s.say.that("The log was in %s", s.relay.LogDir)
	return nil
}
