// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/logs/logstest"
	"plumbline/relay/probe"
)

// stranger is a socket of somebody who has no credential. What comes back is
// read and forgotten.
func stranger(t *testing.T, r *running, from string) net.Conn {
	t.Helper()
	local, err := net.ResolveUDPAddr("udp4", from+":0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialUDP("udp4", local, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: r.port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		in := make([]byte, 2048)
		for {
			if _, err := c.Read(in); err != nil && c.SetReadDeadline(time.Time{}) != nil {
				return
			}
		}
	}()
	return c
}

// stun is a message whose header says length, whatever follows.
func stun(kind, length uint16, attributes ...byte) []byte {
	m := binary.BigEndian.AppendUint16(nil, kind)
	m = binary.BigEndian.AppendUint16(m, length)
	m = binary.BigEndian.AppendUint32(m, 0x2112A442)
	for range 12 {
		m = append(m, byte(rand.Uint32()))
	}
	return append(m, attributes...)
}

// garbage is datagrams of every size and shape that a parser may trip over.
func garbage() (all [][]byte) {
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 2, 3, 4, 5, 7, 8, 19, 20, 21, 23, 24, 127, 1200, 1500, 4095, 4096, 4097, 9000, 65506, 65507} {
		for _, first := range []byte{0x00, 0x01, 0x40, 0x4f, 0x50, 0x80, 0xff} {
			b := make([]byte, size)
			_, _ = random.Read(b)
			if size > 0 {
				b[0] = first
			}
			all = append(all, b)
		}
	}
	const allocate, refresh, send, data, permission, bind, binding = 0x003, 0x004, 0x016, 0x017, 0x008, 0x009, 0x001
	for _, kind := range []uint16{binding, allocate, refresh, send, data, permission, bind, 0x101, 0x111, 0x3fff} {
		all = append(all,
			stun(kind, 0), stun(kind, 4), stun(kind, 1), stun(kind, 0xffff), stun(kind, 0xfffc),
			stun(kind, 4, 0x00, 0x06, 0x00, 0x04),                               // a value that is not there
			stun(kind, 4, 0x00, 0x06, 0xff, 0xff),                               // longer than any datagram
			stun(kind, 8, 0x00, 0x12, 0x00, 0x04, 0, 9, 0, 0),                   // an address of a strange family, and short
			stun(kind, 8, 0x00, 0x0c, 0x00, 0x01, 0x40, 0, 0, 0),                // a channel number of one byte
			stun(kind, 8, 0x7f, 0xee, 0x00, 0x04, 1, 2, 3, 4),                   // unknown, must be understood
			stun(kind, 8, 0xff, 0xee, 0x00, 0x04, 1, 2, 3, 4),                   // unknown, may be ignored
			stun(kind, 8, 0x80, 0x28, 0x00, 0x04, 0, 0, 0, 0),                   // a wrong fingerprint
			stun(kind, 24, append([]byte{0, 8, 0, 20}, make([]byte, 20)...)...), // integrity without a user
		)
		var many []byte
		for range 500 {
			many = append(many, 0x7f, byte(rand.Uint32()), 0, 0)
		}
		all = append(all, stun(kind, uint16(len(many)), many...))
	}
	for _, length := range []uint16{0, 1, 3, 4, 5, 0x7fff, 0xffff} {
		all = append(all, binary.BigEndian.AppendUint16([]byte{0x40, 0x00}, length), append(binary.BigEndian.AppendUint16([]byte{0x40, 0x00}, length), 1, 2, 3, 4))
	}
	return all
}

// counted waits until the relay has said that so many datagrams came, or were
// lost in its sockets' queues, and fails where it says more.
func (r *running) counted(sent uint64) {
	r.Helper()
	deadline := time.Now().Add(20 * time.Second)
	var last any
	for time.Now().Before(deadline) {
		for _, e := range r.events() {
			if e["event"] != "datapath.counters" {
				continue
			}
			u := e["userspace"].(map[string]any)
			last = u
			switch n := uint64(u["received"].(float64) + u["overflowed"].(float64)); {
			case n == sent:
				return
			case n > sent:
				r.Fatalf("%d datagrams were sent, the relay counts %d: %v", sent, n, u)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.Fatalf("%d datagrams were sent, the last counters are %v", sent, last)
}

// sumsAreExact ends the relay and checks its log: that it is whole, that
// received is relayed + passed + dropped, and that the decisions add up to the
// counters by datapath and reason.
func (r *running) sumsAreExact() (lines []logstest.Line, final logs.DatapathCounters) {
	r.Helper()
	if err := r.stop(); err != nil {
		r.Fatal(err)
	}
	lines = logstest.CheckDir(r.T, filepath.Join(r.dir, "logs"))
	sums := map[string]map[string]uint64{"kernel": {}, "userspace": {}}
	for _, line := range lines {
		switch line.Event {
		case "route.decision":
			var d logs.RouteDecision
			if err := json.Unmarshal(line.Raw, &d); err != nil {
				r.Fatal(err)
			}
			sums[d.Datapath][d.Reason] += d.Packets
		case "datapath.counters":
			if err := json.Unmarshal(line.Raw, &final); err != nil {
				r.Fatal(err)
			}
		}
	}
	if !final.Final {
		r.Fatal("no final counters")
	}
	check := func(datapath string, c logs.Counters) {
		if c.Received != c.Relayed+c.Passed+c.Dropped {
			r.Errorf("%s: received is not relayed + passed + dropped: %+v", datapath, c)
		}
		for reason, n := range c.Reasons {
			if sums[datapath][reason] != n {
				r.Errorf("%s: decisions say %d for %s, counters %d", datapath, sums[datapath][reason], reason, n)
			}
		}
	}
	check("userspace", final.Userspace.Counters)
	if final.Kernel != nil {
		check("kernel", final.Kernel.Counters)
	}
	return lines, final
}

// serves checks that somebody with a credential is served.
func (r *running) serves() {
	r.Helper()
	got, err := probe.Run(context.Background(), probe.Options{Server: fmt.Sprintf("127.0.0.1:%d", r.port), User: "alice", Password: "wonderland"})
	if err != nil {
		r.Fatalf("%v: %+v", err, got)
	}
}

func TestGarbageIsCountedAndNothingElse(t *testing.T) {
	r := begin(t)
	c := stranger(t, r, "127.0.0.1")
	var sent uint64
	for range 3 {
		for _, b := range garbage() {
			if _, err := c.Write(b); err != nil {
				t.Fatalf("sending %d bytes: %v", len(b), err)
			}
			sent++
		}
	}
	r.counted(sent)
	r.serves()
	if held := r.status().Allocations; held > 2 {
		t.Errorf("%d allocations after garbage and a probe", held)
	}
	r.sumsAreExact()
}

// used is the memory that lives, and what the process took of the system.
func used() (heap, system uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.Sys
}

// A flood of requests from many networks, none of them with a credential: memory
// and log stay as they are, everything is counted, and clients are served during
// it and after.
func TestFloodOfStrangersIsBounded(t *testing.T) {
	const flood, networks = 100_000, 200
	r := begin(t)
	r.serves() // what is allocated once is allocated
	r.wait(`"event":"allocation.deleted"`)
	heap, system := used()

	var strangers []net.Conn
	for n := range networks {
		strangers = append(strangers, stranger(t, r, fmt.Sprintf("127.%d.%d.1", 1+n/100, n%100)))
	}
	random := rand.New(rand.NewPCG(1, 2))
	integrity := append([]byte{0, 8, 0, 20}, make([]byte, 20)...)
	began := time.Now()
	for n := range flood {
		var m []byte
		switch n % 4 {
		case 0:
			m = stun(0x003, 8, 0, 0x19, 0, 4, 17, 0, 0, 0) // Allocate, UDP
		case 1: // with a user nobody knows, a new one each time
			user := fmt.Appendf([]byte{0, 6, 0, 8}, "u%07d", random.IntN(10_000_000))
			if n%8 == 1 { // and one that has seen a challenge, and guesses
				user = append(append(user, 0, 0x14, 0, 4, 't', 'e', 's', 't'), 0, 0x15, 0, 4, 'n', 'o', 'n', 'e')
			}
			m = stun(0x003, uint16(len(user)+len(integrity)), append(user, integrity...)...)
		case 2:
			m = stun(0x001, 0) // Binding
		case 3: // a channel that nobody has
			m = []byte{0x40, 0x00, 0, 4, 1, 2, 3, 4}
		}
		if _, err := strangers[random.IntN(networks)].Write(m); err != nil {
			t.Fatal(err)
		}
		if n == flood/2 {
			r.serves()
		}
	}
	took := time.Since(began)
	if took > 30*time.Second {
		t.Logf("the flood took %s", took)
	}
	r.serves()
	r.wait(`"event":"route.decision"`, `"reason":"no_allocation"`)
	after, systemAfter := used()
	if after > heap+16<<20 || systemAfter > system+128<<20 {
		t.Errorf("heap %d → %d KiB, system %d → %d KiB", heap>>10, after>>10, system>>10, systemAfter>>10)
	}
	t.Logf("%d datagrams in %s; heap %d → %d KiB, system %d → %d KiB", flood, took, heap>>10, after>>10, system>>10, systemAfter>>10)

	lines, final := r.sumsAreExact()
	if came := final.Userspace.Received + final.Userspace.Overflowed; came < flood || came > flood+1000 {
		t.Errorf("%d datagrams and three probes were sent, the counters say %d", flood, came)
	}
	perSecond := map[string]int{}
	for _, line := range lines {
		perSecond[line.Event+" "+line.Time[:len("2006-01-02T15:04:05")]]++
	}
	for kind, lines := range perSecond {
		// Ten a second of each event and a burst of ten, and at the end of the
		// run what the 64 tallies still held.
		if lines > 64+30 {
			t.Errorf("%d lines of %s within a second", lines, kind)
		}
	}
}
