// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// exchange sends a datagram from one host to another and back.
func exchange(t *testing.T, from, to *Host, src, dst netip.Addr) {
	t.Helper()
	server, err := to.ListenUDP(netip.AddrPortFrom(dst, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := from.ListenUDP(netip.AddrPortFrom(src, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	end := time.Now().Add(5 * time.Second)
	_ = server.SetReadDeadline(end)
	_ = client.SetReadDeadline(end)
	buf := make([]byte, 64)
	if _, err := client.WriteToUDPAddrPort([]byte("ping"), server.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort()); err != nil {
		t.Fatal(err)
	}
	n, seen, err := server.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "ping" {
		t.Fatalf("%s → %s: read %q, %v", from.Name, to.Name, buf[:n], err)
	}
	if seen.Addr() != src {
		t.Fatalf("%s saw source %s, want %s", to.Name, seen.Addr(), src)
	}
	if _, err := server.WriteToUDPAddrPort([]byte("pong"), seen); err != nil {
		t.Fatal(err)
	}
	if n, _, err = client.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "pong" {
		t.Fatalf("%s → %s: read %q, %v", to.Name, from.Name, buf[:n], err)
	}
}

func TestHostsExchangeUDP(t *testing.T) {
	for name, tc := range map[string]struct {
		topology Topology
		pairs    [][2]string
	}{
		"flat":     {Flat("peer2"), [][2]string{{"client", "relay"}, {"relay", "peer"}, {"peer", "peer2"}}},
		"routed":   {Routed(), [][2]string{{"client", "relay"}, {"relay", "peer"}, {"client", "peer"}}},
		"twoarmed": {TwoArmed(), [][2]string{{"client", "relay"}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(t, Options{Topology: tc.topology})
			for _, p := range tc.pairs {
				from, to := b.Host(p[0]), b.Host(p[1])
				exchange(t, from, to, from.Addr(), to.Addr())
				exchange(t, from, to, from.Addr6(), to.Addr6())
			}
		})
	}
}

func TestTwoArmedRelayReachesBothSidesAndForwardsNothing(t *testing.T) {
	b := New(t, Options{Topology: TwoArmed()})
	relay, peer, client := b.Host("relay"), b.Host("peer"), b.Host("client")
	exchange(t, relay, peer, relay.Interfaces[1].IPv4, peer.Addr())
	conn, err := client.ListenUDP(netip.AddrPortFrom(client.Addr(), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(peer.Addr(), 9)); err == nil {
		t.Fatalf("the client has a route to %s, so a test could not tell relayed packets from routed ones", peer.Addr())
	}
}

func TestOffloadsAreOffOnHostsUnlessAskedFor(t *testing.T) {
	for _, keep := range []bool{false, true} {
		b := New(t, Options{TxChecksumOffload: keep, SwitchGRO: keep})
		for _, h := range b.Hosts() {
			for _, f := range []offload{txChecksum, tso, gso} {
				if err := h.Do(func() error {
					on, err := getOffload("eth0", f)
					if err == nil && on != keep {
						t.Errorf("%s of %s is %t, want %t", f.name, h.Name, on, keep)
					}
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Switch().Do(func() error {
				on, err := getOffload(h.Interfaces[0].SwitchEnd, gro)
				if err == nil && on != keep {
					t.Errorf("GRO of the switch's end of %s is %t, want %t", h.Name, on, keep)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	Require(t)
	b, err := Open(Options{SwitchXDPPass: true, Topology: Routed()})
	if err != nil {
		t.Fatal(err)
	}
	name := b.Name()
	// Handles of our own keep the namespaces alive, to look into them after.
	watched := map[string]netns.NsHandle{}
	for _, h := range append(b.Hosts(), b.Switch()) {
		ns, err := netns.GetFromPath(h.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		watched[h.Name] = ns
	}
	sleeper := b.Host("peer").Command(context.Background(), "sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(sleeper.Process.Pid, 0); err != unix.ESRCH {
		t.Errorf("the command in the bed outlived it: kill(0) gives %v", err)
	}
	left, err := filepath.Glob(filepath.Join(namespaceDir, name+"-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in %s: %v (%v)", namespaceDir, left, err)
	}
	for host, ns := range watched {
		h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
		if err != nil {
			t.Fatal(err)
		}
		links, err := h.LinkList()
		h.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if ty := l.Type(); ty == "veth" || ty == "bridge" {
				t.Errorf("link %s (%s) is left in the namespace of %s", l.Attrs().Name, ty, host)
			}
		}
	}
	if err := b.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestOpenFailureLeavesNothing(t *testing.T) {
	Require(t)
	before := own(t)
	topology := Flat()
	topology.Hosts[2].Routes = []Route{{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParseAddr("198.51.100.1")}}
	if b, err := Open(Options{Topology: topology}); err == nil {
		_ = b.Close()
		t.Fatal("a route through an unreachable gateway was accepted")
	}
	if after := own(t); len(after) != len(before) {
		t.Errorf("namespaces before %v, after a failed Open %v", before, after)
	}
}

func own(t *testing.T) []string {
	t.Helper()
	got, err := filepath.Glob(filepath.Join(namespaceDir, prefix+"[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	mine := got[:0]
	for _, g := range got {
		if strings.HasPrefix(filepath.Base(g), prefix+strconv.Itoa(os.Getpid())+"-") {
			mine = append(mine, g)
		}
	}
	return mine
}

func TestSweepRemovesOnlyWhatTheDeadLeft(t *testing.T) {
	Require(t)
	// A process that has certainly ended, and whose id we know.
	dead := New(t, Options{}).Host("peer").Command(deadline(t), "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	leftover := prefix + strconv.Itoa(dead.Process.Pid) + "-1-relay"
	live := prefix + strconv.Itoa(os.Getpid()) + "-9999-relay"
	for _, name := range []string{leftover, live} {
		ns, err := newNamespace(name)
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		defer func() { _ = deleteNamespace(name) }()
	}
	if _, err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(namespaceDir, leftover)); !os.IsNotExist(err) {
		t.Errorf("a dead process's namespace is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(namespaceDir, live)); err != nil {
		t.Errorf("a live process's namespace was swept: %v", err)
	}
}

func TestCommandRunsInTheNamespaceAndKeepsTheMounts(t *testing.T) {
	b := New(t, Options{})
	relay := b.Host("relay")
	pins := PinDir(t)
	out, err := relay.Command(deadline(t), "readlink", "/proc/self/ns/net", "/proc/self/ns/mnt").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	var st unix.Stat_t
	if err := unix.Stat(relay.Path(), &st); err != nil {
		t.Fatal(err)
	}
	if want := "net:[" + strconv.Itoa(int(st.Ino)) + "]"; got[0] != want {
		t.Errorf("the command ran in %s, want %s", got[0], want)
	}
	mnt, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if got[1] != mnt {
		t.Errorf("the command's mount namespace is %s, want ours, %s", got[1], mnt)
	}
	if out, err := relay.Command(deadline(t), "ls", "-d", pins).CombinedOutput(); err != nil {
		t.Errorf("pins are not visible in the bed: %s %v", out, err)
	}
	// The way a person would look in.
	if out, err := relay.Command(deadline(t), "nsenter", "--net="+b.Host("peer").Path(), "ip", "-br", "-4", "addr", "show", "eth0").CombinedOutput(); err != nil || !strings.Contains(string(out), b.Host("peer").Addr().String()) {
		t.Errorf("nsenter: %s %v", out, err)
	}
}

// Whoever started a command may be waiting for it while the bed closes.
func TestCloseBesideAWaiter(t *testing.T) {
	Require(t)
	b, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := b.Host("peer").Command(deadline(t), "sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	for _, ended := range []chan error{waited, closed} {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("the bed's Close and the waiter wait for each other")
		}
	}
}

func TestDoComesHomeAfterFailNow(t *testing.T) {
	b := New(t, Options{})
	home, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan string)
	go func() {
		defer func() {
			now, _ := os.Readlink("/proc/thread-self/ns/net")
			ended <- now
		}()
		defer func() { _ = recover() }()
		_ = b.Host("peer").Do(func() error { panic("as FailNow, unwinds the stack") })
	}()
	if now := <-ended; now != home {
		t.Errorf("the thread stayed in %s, want %s", now, home)
	}
}

func TestResolveAndWarm(t *testing.T) {
	b := New(t, Options{Topology: Routed()})
	client, relay := b.Host("client"), b.Host("relay")
	if _, ok, err := client.neighbour(relay.Addr()); ok || err != nil {
		t.Fatalf("resolved before anything was sent: %t, %v", ok, err)
	}
	mac, err := client.Resolve(deadline(t), relay.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if want := relay.Interfaces[0].MAC; mac.String() != want.String() {
		t.Errorf("resolved %s to %s, want %s", relay.Addr(), mac, want)
	}
	if err := b.Warm(deadline(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Resolve(ctx, nth(mainNet.IPv4, 200)); err == nil {
		t.Error("resolved an address that nobody has")
	}
}

func TestTopologyMistakesAreNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Topology)
		want   string
	}{
		"same name":       {func(p *Topology) { p.Hosts[1].Name = "client" }, "twice"},
		"switch":          {func(p *Topology) { p.Hosts[1].Name = "switch" }, "twice"},
		"long name":       {func(p *Topology) { p.Hosts[1].Name = "abcdefghijklm" }, "12 bytes"},
		"path":            {func(p *Topology) { p.Hosts[1].Name = "../x" }, "a-z"},
		"unknown network": {func(p *Topology) { p.Hosts[1].Interfaces[0].Network = "x" }, "does not have"},
		"same address":    {func(p *Topology) { p.Hosts[1].Interfaces[0].Host = 10 }, "both have address 10.77.0.10"},
		"number":          {func(p *Topology) { p.Hosts[1].Interfaces[0].Host = 255 }, "1 to 254"},
		"small subnet":    {func(p *Topology) { p.Networks[0].IPv4 = netip.MustParsePrefix("10.0.0.0/25") }, "/24"},
	} {
		topology := Flat()
		tc.change(&topology)
		if err := topology.check(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
	}
	if err := Flat("peer2").check(); err != nil {
		t.Error(err)
	}
}
