// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"plumbline/logs"
	"plumbline/relay/stage"
)

// attach is the first act: the hosts, and the relay's router in the kernel.
func (s *set) attach() error {
	s.say.act(1, "Three network namespaces behind a bridge, the relay's router in the kernel")
	for _, h := range s.bed.Hosts() {
		s.say.that("%-7s %-11s namespace %s", h.Name, h.Addr(), h.Namespace)
	}
	started, err := s.wait("relay.started", 0, nil)
	if err != nil {
		return err
	}
	attached, err := s.wait("offload.attached", 0, nil)
	if err != nil {
		return err
	}
	applied, err := s.wait("config.applied", 0, nil)
	if err != nil {
		return err
	}
	if err := verified(applied); err != nil {
		return err
	}
	s.say.log(applied, attached, started)
	return nil
}

// verified fails unless a config.applied line says that the kernel was read back
// and holds what was intended.
func verified(l stage.Line) error {
	var e logs.ConfigApplied
	if err := l.Decode(&e); err != nil {
		return err
	}
	if e.Verified == nil || !*e.Verified || len(e.Diff) > 0 {
		return fmt.Errorf("the config was applied, but not verified in the kernel: %s", l.Message)
	}
	return nil
}

// relayTraffic is the second act: coturn's client through the kernel.
func (s *set) relayTraffic() error {
	s.say.act(2, "coturn's client through the kernel")
	t, err := s.start(200)
	if err != nil {
		return err
	}
	c, err := t.finish()
	if err != nil {
		return err
	}
	s.say.that("%d messages to the peer, %d back, none lost", t.got.Sent, t.got.Received)
	s.say.that("the kernel relayed %d of %d packets (%.1f %%), user space %d, says the log", c.kernel, c.kernel+c.userspace, c.share(), c.userspace)
	if c.share() < 95 {
		return fmt.Errorf("the kernel relayed only %.1f %% of the packets", c.share())
	}
	return nil
}

// reload is the third act: the config file edited while packets flow.
func (s *set) reload() error {
	s.say.act(3, "A new port range while packets flow")
	t, err := s.start(600)
	if err != nil {
		return err
	}
	if err := t.flowing(); err != nil {
		return err
	}
	seq, err := s.lastSeq()
	if err != nil {
		return err
	}
	edit := []string{"-i", "s/" + portsBefore + "/" + portsAfter + "/", s.relay.ConfigFile}
	if _, err := s.installed("sed", edit...); err != nil {
		return err
	}
	s.say.that("$ sed %s", quoted(edit))
	loaded, err := s.wait("config.loaded", seq, nil)
	if err != nil {
		return err
	}
	applied, err := s.wait("config.applied", loaded.Seq, nil)
	if err != nil {
		return err
	}
	if err := verified(applied); err != nil {
		return err
	}
	var a logs.ConfigApplied
	if err := applied.Decode(&a); err != nil {
		return err
	}
	if got := fmt.Sprintf("%d-%d", a.Kernel.LowestPort, a.Kernel.HighestPort); got != portsAfter {
		return fmt.Errorf("the kernel holds ports %s, not %s", got, portsAfter)
	}
	seen, err := s.wait("config.observed", applied.Seq, func(l stage.Line) bool {
		var o logs.ConfigObserved
		return l.Decode(&o) == nil && o.Generation == a.Generation
	})
	if err != nil {
		return fmt.Errorf("config %d was never seen in effect: %w", a.Generation, err)
	}
	if err := t.running(); err != nil {
		return err
	}
	s.say.log(loaded, applied, seen)
	c, err := t.finish()
	if err != nil {
		return err
	}
	s.say.that("%d messages to the peer, %d back, none lost", t.got.Sent, t.got.Received)
	if c.userspace == 0 { // by chance, all of the clients' ports are in the new range too
		return nil
	}
	outside, err := s.wait("route.failed", applied.Seq, nil)
	if err != nil {
		return fmt.Errorf("the log does not say why user space relayed %d packets: %w", c.userspace, err)
	}
	s.say.that("Allocations outside of the new range live on in user space (%d packets here), and the log says so:", c.userspace)
	s.say.log(outside)
	return nil
}
