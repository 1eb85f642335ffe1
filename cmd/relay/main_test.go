// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/reconcile"
)

// outcome is what a command line came to.
type outcome struct {
	code     int
	out, err string
}

func command(args ...string) outcome {
	var out, errs bytes.Buffer
	err := run(args, &out, &errs)
	o := outcome{out: out.String(), err: errs.String()}
	var code exitCode
	switch {
	case errors.As(err, &code):
		o.code = int(code)
	case err != nil:
		o.code, o.err = 1, o.err+err.Error()
	}
	return o
}

func TestExitCodes(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	write(t, good, "offload: {interface: eth0}\n")
	write(t, bad, "offload: {interface: eth0, mode: magic}\nlisten: 7\n")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"version", 0, "plumbline "},
		{"--help", 0, "probe"},
		{"run --help", 0, "--config"},
		{"nonsense", 1, "nonsense"},
		{"check", 1, "file"},
		{"check --nonsense " + good, 1, "--nonsense"},
		{"check " + good, 0, "ok, digest"},
		{"check " + bad, 1, bad + ":1:"},
		{"check " + bad, 1, bad + ":2:"},
		{"check " + dir, 1, "folder"},
		{"check " + filepath.Join(dir, "missing.yaml"), 1, "missing.yaml"},
		{"run --config " + bad, 1, bad + ":2:"},
		{"status", 1, "answers"},
		{"status --config " + bad, 1, bad + ":1:"},
		{"probe", 1, "relay run"},
		{"probe --server 127.0.0.1:9", 1, "--user"},
		{"probe --count 0", 1, "--count"},
		{"load --ipv6 --server [::1]:9 --user a --password b", 1, "--peer-address"},
		{"load", 1, "relay run"},
		{"load --server 127.0.0.1:9", 1, "--user"},
		{"load --allocations 0", 1, "--allocations 0: want 1 to 1000"},
		{"load --rate 200001", 1, "--rate 200001: want 1 to 200000"},
		{"load --size 27", 1, "--size 27: want 28 to 1448"},
		{"load --duration 11m", 1, "--duration 11m0s"},
		{"load --timeout 0s", 1, "--timeout"},
		{"load --peer-address localhost", 1, "--peer-address"},
		{"load --peer-address 0.0.0.0", 1, "--peer-address"},
	} {
		got := command(strings.Fields(c.args)...)
		if got.code != c.code || !strings.Contains(got.out+got.err, c.says) {
			t.Errorf("relay %s: exit %d, want %d and %q in:\n%s%s", c.args, got.code, c.code, c.says, got.out, got.err)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// logged leaves a log folder as a relay would, with applies of these
// generations.
func logged(t *testing.T, dir, instance string, generations ...uint32) {
	t.Helper()
	w, err := logs.NewWriter(logs.WriterOptions{Dir: dir, Relay: instance, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range generations {
		cfg := bpf.Config{Generation: g, Enabled: true, UDPChecksum: true, LowestPort: 50000, HighestPort: 50999, ListenPorts: []uint16{3478}}
		described := reconcile.Describe(cfg)
		verified, slot := true, uint32(0)
		w.Log(logs.ConfigApplied{Generation: g, Digest: fmt.Sprintf("digest-%d", g), Slot: &slot, Intended: described, Kernel: &described, Verified: &verified})
	}
	if err := w.Close("shutdown"); err != nil {
		t.Fatal(err)
	}
}

func TestNewestAppliedIsFoundOverFiles(t *testing.T) {
	dir := t.TempDir()
	if _, ok := newestApplied(dir, "edge"); ok {
		t.Fatal("found an apply in an empty folder")
	}
	logged(t, dir, "edge", 1, 2)
	logged(t, dir, "edge", 3)
	logged(t, dir, "edge") // a run that applied nothing
	write(t, filepath.Join(dir, "notes.txt"), `"event":"config.applied" not ours`)
	a, ok := newestApplied(dir, "edge")
	if !ok || a.Generation != 3 || a.Intended.LowestPort != 50000 {
		t.Fatalf("found %t %+v, want generation 3", ok, a)
	}
	if _, ok := newestApplied(dir, "another"); ok {
		t.Fatal("another instance's apply was taken")
	}
}

func kernel(c bpf.Config) *kernelReport {
	return &kernelReport{RouterConfig: reconcile.Describe(c), LeaseMS: 20_000, Attached: true, Mode: "generic", Ifindex: 2}
}

func TestCompareSides(t *testing.T) {
	cfg := bpf.Config{Generation: 7, Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478}}
	zero := kernel(bpf.Config{})
	zero.Valid, zero.ABI = new(bool), 0
	changed := cfg
	changed.HighestPort = 50000
	old := kernel(cfg)
	old.LeaseMS = -1500
	off := kernel(cfg)
	off.Attached = false
	for name, c := range map[string]struct {
		kernel     *kernelReport
		generation uint32
		fields     []string
		datapath   string
	}{
		"same":               {kernel(cfg), 7, nil, "kernel"},
		"unknown generation": {kernel(cfg), 0, nil, "kernel"},
		"blanked":            {zero, 7, []string{"abi", "generation", "enabled", "udp_checksum", "lowest_port", "highest_port", "listen_ports", "valid"}, "userspace"},
		"one field":          {kernel(changed), 7, []string{"highest_port"}, ""},
		"lease ended":        {old, 7, []string{"lease"}, "userspace"},
		"detached":           {off, 7, []string{"attached"}, "userspace"},
		"no pins":            {nil, 7, []string{"attached"}, "userspace"},
	} {
		r := &report{Generation: c.generation, Intended: reconcile.Describe(cfg), Kernel: c.kernel, Datapath: "userspace", Offload: offloadReport{Intended: true, Interface: "eth0"}}
		differs := r.compare()
		var fields []string
		for _, d := range r.Diff {
			fields = append(fields, d.Field)
		}
		if differs != (len(c.fields) > 0) || strings.Join(fields, " ") != strings.Join(c.fields, " ") || c.datapath != "" && r.Datapath != c.datapath {
			t.Errorf("%s: differs %t in %v over %s, want %v over %s", name, differs, fields, r.Datapath, c.fields, c.datapath)
		}
	}
}

func TestStatusTextShowsBothSides(t *testing.T) {
	cfg := bpf.Config{Generation: 7, Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478}}
	zero := kernel(bpf.Config{})
	zero.Valid, zero.ABI = new(bool), 0
	r := &report{Relay: "edge", Source: "log", Generation: 7, Digest: "0123456789abcdef", Intended: reconcile.Describe(cfg), Kernel: zero,
		Datapath: "userspace", Offload: offloadReport{Intended: true, Interface: "eth0"}, Verdict: "differs"}
	r.compare()
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"does not answer", "from its log", "lowest_port    49152      0", "DIFFERS", "- intended  lowest_port 49152", "+ kernel    lowest_port 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	data, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(data), `"kernel":{"abi":0`) {
		t.Errorf("JSON %s, %v", data, err)
	}
}

// A relay that is gone, whose log is there and whose pins are not: intent is
// known, and no kernel side is made up.
func TestStatusOfADeadRelayWithoutPins(t *testing.T) {
	dir := t.TempDir()
	instance := fmt.Sprintf("status-test-%d", time.Now().UnixNano())
	file := filepath.Join(dir, "relay.yaml")
	write(t, file, fmt.Sprintf("relay: {name: %s}\noffload: {interface: eth0}\nlogs: {dir: %s}\nadmin: {socket: %s}\n",
		instance, filepath.Join(dir, "logs"), filepath.Join(dir, "relay.sock")))
	logged(t, filepath.Join(dir, "logs"), instance, 4)
	if got := command("status", "--config", file); got.code != 1 || !strings.Contains(got.err, instance) {
		t.Fatalf("exit %d:\n%s%s", got.code, got.out, got.err)
	}
}
