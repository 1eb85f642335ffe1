// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// Where the kernel path can't be had, the relay says so loudly and serves in
// user space, or ends where that was asked for. Nobody has to guess.
func TestKernelPathUnavailable(t *testing.T) {
	unprivileged := []string{"setpriv", "--inh-caps=-all", "--bounding-set=-net_admin,-bpf,-perfmon,-sys_admin"}
	for name, tc := range map[string]struct {
		offload string
		wrap    []string
		says    string // in the reason
	}{
		"no such interface": {"interface: eth7", nil, "eth7"},
		"no privileges":     {"interface: eth0", unprivileged, "not permitted"},
	} {
		t.Run(name+", serves", func(t *testing.T) {
			needs(t, "turnutils_uclient", "turnutils_peer", "setpriv")
			t.Parallel()
			s := play(t, testbed.Options{}, stage.Config{Offload: "{" + tc.offload + "}", Wrap: tc.wrap})
			var e logs.OffloadUnavailable
			l := s.wait("offload.unavailable", 0, nil)
			if err := l.Decode(&e); err != nil || l.Severity != "ERROR" || e.Consequence != "userspace" || !strings.Contains(e.Reason, tc.says) {
				t.Errorf("offload.unavailable is %s (%v)", l.Raw, err)
			}
			code, out := s.command("relay", "status", "--config", s.relay.ConfigFile)
			if code != 2 || has(out, "userspace", "attached", tc.says) != nil {
				t.Errorf("relay status: exit %d, want 2 and the reason\n%s", code, out)
			}
			s.peer()
			s.coturn(stage.Uclient{Clients: 2, Messages: 50, Length: 171, Interval: 10 * time.Millisecond})
			c := final(t, s.stop())
			if c.Kernel != nil || c.Userspace.Relayed != 200 {
				t.Errorf("user space was to relay 200 packets alone: %s", asJSON(c))
			}
			if code, out := s.command("analyze", "mismatches", s.relay.LogDir); code != 2 || has(out, "offload") != nil {
				t.Errorf("analyze mismatches: exit %d\n%s", code, out)
			}
		})
		t.Run(name+", required", func(t *testing.T) {
			needs(t, "setpriv")
			t.Parallel()
			s := open(t, testbed.Options{})
			s.start(stage.Config{Offload: "{" + tc.offload + ", required: true}", Wrap: tc.wrap})
			err := s.relay.WaitExit(30 * time.Second)
			if err == nil || !strings.Contains(err.Error(), "exit status 1") {
				t.Fatalf("the relay ended with %v, want exit status 1", err)
			}
			if err := has(s.relay.Console(), "relay: ", "offload.required", tc.says); err != nil {
				t.Errorf("stderr: %v", err)
			}
			var e logs.OffloadUnavailable
			if err := s.wait("offload.unavailable", 0, nil).Decode(&e); err != nil || e.Consequence != "exit" {
				t.Errorf("offload.unavailable is %s (%v)", asJSON(e), err)
			}
			s.wait("log.closed", 0, nil)
		})
	}
}

// A device that counts XDP_TX frames as errors: native mode on a veth whose other
// end has no XDP. Until that is noticed frames are lost; then the relay leaves for
// generic mode, says so, and clients are served without loss.
func TestDeviceThatSwallowsFrames(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{Offload: "{interface: eth0, mode: native}", PerUser: 30})
	s.peer()
	lossy := s.startLossy(stage.Uclient{Clients: 2, Messages: 150, Length: 171, Interval: 10 * time.Millisecond})
	l := s.wait("offload.transmit_failing", 0, nil)
	var e logs.OffloadTransmitFailing
	if err := l.Decode(&e); err != nil || l.Severity != "ERROR" || e.Mode != "native" || e.Consequence != "generic" || e.TxErrors == 0 {
		t.Errorf("offload.transmit_failing is %s (%v)", l.Raw, err)
	}
	var on logs.OffloadAttached
	if err := s.wait("offload.attached", l.Seq, nil).Decode(&on); err != nil || on.Mode != "generic" {
		t.Errorf("attached again in mode %q (%v), want generic", on.Mode, err)
	}
	if got := lossy(); got.Lost == 0 {
		t.Error("nothing was lost before: the device did not swallow frames, so the test shows nothing")
	}
	s.coturn(stage.Uclient{Clients: 2, Messages: 100, Length: 171, Interval: 10 * time.Millisecond})
	if code, out := s.command("relay", "status", "--config", s.relay.ConfigFile); code != 0 || has(out, "generic") != nil {
		t.Errorf("relay status: exit %d\n%s", code, out)
	}
	lines := s.stop()
	if c := final(t, lines); c.Kernel == nil || c.Kernel.TxErrors == 0 || c.Kernel.Relayed < 400 {
		t.Errorf("the final counters are %s", asJSON(c))
	}
	if n := len(named(lines, "offload.transmit_failing")); n != 1 {
		t.Errorf("the device was called failing %d times, want once", n)
	}
	if code, out := s.command("analyze", "mismatches", s.relay.LogDir); code != 2 || has(out, "transmit") != nil {
		t.Errorf("analyze mismatches: exit %d\n%s", code, out)
	}
}
