// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"plumbline/logs"
)

// A quantile is never below the true one, and at most 1/32 above it.
func TestHistogramQuantiles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(0, int64(60*time.Second)), 1, 300).Draw(t, "times")
		h, other := new(histogram), new(histogram)
		for i, d := range times {
			[]*histogram{h, other}[i%2].add(time.Duration(d))
		}
		h.merge(other)
		slices.Sort(times)
		for _, percent := range []int{1, 50, 90, 99, 100} {
			exact := times[max((len(times)*percent+99)/100, 1)-1]
			got := int64(h.quantile(float64(percent) / 100))
			if got < exact || got > exact+exact/32+1 {
				t.Fatalf("p%d of %v: %d, want %d", percent, times, got, exact)
			}
		}
		if h.most != time.Duration(times[len(times)-1]) || h.count != uint64(len(times)) {
			t.Fatalf("most %d of %d", h.most, h.count)
		}
	})
	h := new(histogram)
	if h.quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	h.add(time.Hour)
	if h.quantile(0.5) != time.Hour {
		t.Error("beyond the last bucket")
	}
}

// Any change of up to four bytes in a row, and any other length, is found.
func TestAnyWrongByteIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := make([]byte, rapid.IntRange(MinSize, 300).Draw(t, "size"))
		p := packet{run: [8]byte{1, 2}, number: rapid.Uint32().Draw(t, "number"), stream: identity{7, toClients}, at: 5}
		p.write(b)
		if got, intact := readPacket(b); got != p || !intact {
			t.Fatalf("%+v back as %+v, %t", p, got, intact)
		}
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		c := slices.Clone(b)
		for i := range c[at:min(at+rapid.IntRange(1, 4).Draw(t, "bytes"), len(b))] {
			c[at+i] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		}
		for _, bad := range [][]byte{c, b[:at], append(slices.Clone(b), 0)} {
			if _, intact := readPacket(bad); intact {
				t.Fatalf("%x passes for %x", bad, b)
			}
		}
	})
}

func TestPace(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{1, 3, 999, 20_000, MaxRate} {
		now, sent, sleeps := time.Duration(0), 0, 0
		p := pacer{rate: rate, now: func() time.Duration { return now }, sleep: func(_ context.Context, d time.Duration) { now += d; sleeps++ }}
		took, skipped, err := p.run(t.Context(), 2*time.Second, func() error { sent++; return nil })
		if err != nil || took != 2*time.Second || skipped != 0 || sent < 2*rate-rate/1000-1 || sent > 2*rate+1 || sleeps > 4001 {
			t.Errorf("%d/s: %d sent, %d skipped, in %v with %d sleeps, %v", rate, sent, skipped, took, sleeps, err)
		}
	}
	// A host that stands still for a second floods nobody afterwards.
	now, sent, most, since := time.Duration(0), 0, 0, 0
	p := pacer{rate: 10_000, now: func() time.Duration { return now }, sleep: func(_ context.Context, d time.Duration) {
		most, since = max(most, since), 0
		if now += d; now > time.Second && now < 2*time.Second {
			now = 2 * time.Second
		}
	}}
	_, skipped, _ := p.run(t.Context(), 3*time.Second, func() error { sent++; since++; return nil })
	if total := uint64(sent) + skipped; most > 201 || skipped < 9_700 || total < 29_990 || total > 30_001 {
		t.Errorf("%d sent, %d skipped, %d at once", sent, skipped, most)
	}
	failed := errors.New("no")
	if _, _, err := p.run(t.Context(), time.Minute, func() error { return failed }); err != failed {
		t.Error(err)
	}
}

func TestResultIsStable(t *testing.T) {
	t.Parallel()
	r := Result{OK: true, Server: "192.0.2.1:3478", User: "alice", Allocations: 1, Relayed: []logs.Addr{{AddrPort: netip.MustParseAddrPort("192.0.2.1:50000")}},
		PeerAddress: "192.0.2.9", Rate: 100, Size: 172, DurationS: 5, TookS: 4.5, Interrupted: true, Unsent: 3, ToPeers: Direction{Sent: 225, Received: 220, Lost: 2, Duplicated: 4,
			Reordered: 5, Corrupted: 3, Misdelivered: 6, Foreign: 7, SentPerS: 50, ReceivedPerS: 48.9, ReceivedMbit: 0.067, P50US: 100, P90US: 200, P99US: 300.5, MaxUS: 400}}
	var b bytes.Buffer
	if err := r.Write(&b, true); err != nil {
		t.Fatal(err)
	}
	const none = `{"sent":0,"received":0,"lost":0,"duplicated":0,"reordered":0,"corrupted":0,"misdelivered":0,"foreign":0,"sent_per_s":0,"received_per_s":0,"received_mbit_per_s":0,"latency_p50_us":0,"latency_p90_us":0,"latency_p99_us":0,"latency_max_us":0}`
	const want = `{"ok":true,"server":"192.0.2.1:3478","user":"alice","allocations":1,"relayed":["192.0.2.1:50000"],"peer_address":"192.0.2.9","rate_per_s":100,"size":172,"duration_s":5,"took_s":4.5,"interrupted":true,"unsent":3,` +
		`"to_peers":{"sent":225,"received":220,"lost":2,"duplicated":4,"reordered":5,"corrupted":3,"misdelivered":6,"foreign":7,"sent_per_s":50,"received_per_s":48.9,"received_mbit_per_s":0.067,"latency_p50_us":100,"latency_p90_us":200,"latency_p99_us":300.5,"latency_max_us":400},` +
		`"to_clients":` + none + `,"data_indications":0,"dropped_here":0}` + "\n"
	if b.String() != want {
		t.Errorf("JSON\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	if err := r.Write(&b, false); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"misdelivered", "4.5 s of 5.0 s (interrupted)", "3 left out", "0.400", "ok\n"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("no %q in\n%s", part, b.String())
		}
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if NewBar(&b) != nil {
		t.Fatal("a bar where no terminal is")
	}
	width := 200
	bar := &Bar{w: &b, width: func() int { return width }}
	bar.Draw(Progress{Allocations: 1, AllocationsWanted: 2})
	bar.Draw(Progress{Elapsed: time.Second, Duration: 2 * time.Second, Sent: 9, Received: 8, Bad: 7})
	width = 10
	bar.Draw(Progress{Elapsed: time.Second, Duration: 2 * time.Second})
	bar.Clear()
	half := "[" + strings.Repeat("#", 15) + strings.Repeat("-", 15) + "] "
	want := "\r" + half + "1 of 2 allocations\x1b[K\r" + half + "1.0 of 2.0 s, sent 9, received 8, bad 7\x1b[K\r[########\x1b[K\r\x1b[K"
	if b.String() != want {
		t.Errorf("drew %q, want %q", b.String(), want)
	}
}
