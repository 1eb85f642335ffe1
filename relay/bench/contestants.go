// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// Names of the contestants; those with a host of their own give it theirs.
const (
	direct    = "direct"
	floor     = "floor"
	kernel    = "kernel"
	userspace = "userspace"
	coturn    = "coturn"
	pion      = "pion"
)

// sourceHost is the host that the load comes from.
const sourceHost = "source"

// contestant is one way from the clients to the peer.
type contestant struct {
	name           string
	host           *testbed.Host // the relay's; none: straight to the peer
	fixed          bool          // the flows are constants, there is nothing to ask for
	user, password string
}

// scene is the bed with everything that runs on it.
type scene struct {
	ctx                context.Context // of the whole run
	options            loadOptions
	bed                *testbed.Bed
	client, peer       *testbed.Host
	peerEnd, clientEnd *xdpObjects
	source             source
	contestants        []*contestant
	relay              *stage.Relay   // kernel
	closers            []func() error // in the order of what they close
	dir                string
}

// loadOptions say how much to load, and for how long.
type loadOptions struct {
	payload  int           // bytes of a datagram at the peer
	rate     float64       // packets/s for CPU time
	pings    float64       // round trips/s for latency
	interval time.Duration // of latency, and of CPU time each way
	trial    time.Duration // of the search for the maximum
	steps    int           // of that search
	loss     float64       // that it tolerates
	rounds   int
	binary   string // bin/relay
}

// startScene makes the bed, and starts the contestants of these names on it.
func startScene(ctx context.Context, o loadOptions, names []string) (_ *scene, err error) {
	s := &scene{ctx: ctx, options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "plumbline-bench"); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(s.dir) })
	if s.bed, err = testbed.Open(testbed.Options{Topology: testbed.Flat(sourceHost, floor, userspace, coturn, pion)}); err != nil {
		return nil, fmt.Errorf("making the test bed: %w", err)
	}
	s.closers = append(s.closers, s.bed.Close)
	s.client, s.peer = s.bed.Host("client"), s.bed.Host("peer")
	warm, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := s.bed.Warm(warm); err != nil {
		return nil, err
	}
	if err := s.startLoad(); err != nil {
		return nil, err
	}
	starts := map[string]func() error{direct: s.startDirect, floor: s.startFloor, kernel: s.startKernel, userspace: s.startUserspace, coturn: s.startCoturn, pion: s.startPion}
	for _, name := range names {
		if err := starts[name](); err != nil {
			return nil, fmt.Errorf("starting %s: %w", name, err)
		}
	}
	for _, c := range s.contestants {
		if err := s.serving(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// close takes all down, last things first.
func (s *scene) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *scene) compete(c contestant) {
	c.user, c.password = stage.User, stage.Password
	s.contestants = append(s.contestants, &c)
}

// serving waits until a TURN server answers.
func (s *scene) serving(c *contestant) error {
	if c.host == nil || c.fixed {
		return nil
	}
	fd, err := openUDP(s.client, netip.AddrPortFrom(s.client.Addr(), 0), on(c.host, listenPort))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := (&turnClient{fd: fd}).binding(); err != nil {
		return fmt.Errorf("%s does not serve on %s: %w", c.name, on(c.host, listenPort), err)
	}
	return nil
}

// loadXDP loads the benchmark's XDP programs for as long as the scene lasts.
func (s *scene) loadXDP() (*xdpObjects, error) {
	objects, err := constants{
		client: hostConstant(s.client, clientPort), peer: hostConstant(s.peer, peerPort), relay: hostConstant(s.bed.Host(floor), listenPort),
	}.load()
	if err == nil {
		s.closers = append(s.closers, objects.Close)
	}
	return objects, err
}

// attach attaches a program for as long as the scene lasts, to a host from where
// it can send.
func (s *scene) attach(host *testbed.Host, program *ebpf.Program) error {
	l, err := attachNative(host, program)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, l.Close)
	return s.bed.SwitchXDPPass(host.Interfaces[0])
}

// startLoad sets up what the load needs.
func (s *scene) startLoad() (err error) {
	for _, objects := range []**xdpObjects{&s.peerEnd, &s.clientEnd} {
		if *objects, err = s.loadXDP(); err != nil {
			return err
		}
	}
	s.source = source{host: s.bed.Host(sourceHost)}
	return s.attach(s.peer, s.peerEnd.Endpoint)
}

func (s *scene) startDirect() error {
	s.compete(contestant{name: direct})
	return nil
}

func (s *scene) startFloor() error {
	host := s.bed.Host(floor)
	s.compete(contestant{name: floor, host: host, fixed: true})
	return s.attach(host, s.peerEnd.FloorRelay)
}

func (s *scene) startKernel() error {
	host := s.bed.Host("relay")
	if err := testbed.EnsureBPFFS(); err != nil {
		return err
	}
	if err := s.bed.SwitchXDPPass(host.Interfaces[0]); err != nil {
		return err
	}
	r, err := s.startRelay(host, kernel, "{interface: eth0, mode: native, required: true}")
	if err != nil {
		return err
	}
	s.relay = r
	if _, err := r.Wait("offload.attached", 0, nil); err != nil {
		return err
	}
	s.compete(contestant{name: kernel, host: host})
	return nil
}

func (s *scene) startUserspace() error {
	host := s.bed.Host(userspace)
	if _, err := s.startRelay(host, userspace, "{enabled: false}"); err != nil {
		return err
	}
	s.compete(contestant{name: userspace, host: host})
	return nil
}

func (s *scene) startRelay(host *testbed.Host, name, offload string) (*stage.Relay, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	r, err := stage.Start(host, s.options.binary, stage.Config{Name: s.bed.Name() + "-" + name, Dir: dir, Offload: offload, PerUser: 4 * clients})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { r.Cleanup(); return nil })
	if _, err := r.Wait("relay.started", 0, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// startCoturn starts turnserver as it is by default: what is switched off are
// TLS, its telnet console and its log; what is given are addresses and the user.
func (s *scene) startCoturn() error {
	host := s.bed.Host(coturn)
	address := host.Addr().String()
	cmd := host.Command(s.ctx, "turnserver", "-n", "--no-tls", "--no-dtls", "--no-cli", "--no-stdout-log", "--simple-log", "--log-file", "/dev/null",
		"--pidfile", filepath.Join(s.dir, "turnserver.pid"), "--userdb", filepath.Join(s.dir, "turndb"),
		"--listening-ip", address, "--relay-ip", address, "--listening-port", fmt.Sprint(listenPort),
		"--lt-cred-mech", "--user", stage.User+":"+stage.Password, "--realm", "bench.test")
	if err := s.startProcess(cmd); err != nil {
		return err
	}
	s.compete(contestant{name: coturn, host: host})
	return nil
}

func (s *scene) startPion() error {
	host := s.bed.Host(pion)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, to run pion/turn's server in: %w", err)
	}
	if err := s.startProcess(host.Command(s.ctx, self, pion, on(host, listenPort).String(), stage.User, stage.Password, "bench.test")); err != nil {
		return err
	}
	s.compete(contestant{name: pion, host: host})
	return nil
}

// startProcess starts a server that closing the scene ends.
func (s *scene) startProcess(cmd *testbed.Cmd) error {
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	s.closers = append(s.closers, func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			return err
		}
		return nil
	})
	return nil
}

// kernelShare ends the relay that offloads, and says what share of the data
// packets its router relayed, by its own log.
func (s *scene) kernelShare() (share float64, relayed uint64, err error) {
	if err := s.relay.Stop(); err != nil {
		return 0, 0, err
	}
	lines, err := s.relay.Lines()
	if err != nil {
		return 0, 0, err
	}
	var sums logs.DatapathCounters
	for _, l := range lines {
		if l.Event == sums.Name() {
			if err := l.Decode(&sums); err != nil {
				return 0, 0, err
			}
		}
	}
	if sums.Kernel == nil || !sums.Final {
		return 0, 0, errors.New("the relay's log has no final sums of its kernel path")
	}
	relayed = sums.Kernel.Relayed + sums.Userspace.Relayed
	return float64(sums.Kernel.Relayed) / float64(max(relayed, 1)), relayed, nil
}
