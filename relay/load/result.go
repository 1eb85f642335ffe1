// SPDX-License-Identifier: Apache-2.0

package load

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"plumbline/logs"
)

// Result is what came of a run.
type Result struct {
	OK          bool        `json:"ok"`
	Error       string      `json:"error,omitempty"`
	Server      string      `json:"server"`
	User        string      `json:"user"`
	Allocations int         `json:"allocations"`  // asked for
	Relayed     []logs.Addr `json:"relayed"`      // an address for each allocation
	PeerAddress string      `json:"peer_address"` // of all peers
	Rate        int         `json:"rate_per_s"`   // asked for: packets/s, both directions
	Size        int         `json:"size"`         // of a payload in bytes
	DurationS   float64     `json:"duration_s"`   // asked for
	TookS       float64     `json:"took_s"`       // how long packets were sent
	Interrupted bool        `json:"interrupted"`  // sending ended before its time, on request
	// Unsent is how many packets this host was too slow for; they are in no
	// other count.
	Unsent    uint64    `json:"unsent"`
	ToPeers   Direction `json:"to_peers"`
	ToClients Direction `json:"to_clients"`
	// DataIndications is how many packets came to clients in Data indications
	// although their channel is bound (RFC 8656 §12.7 wants ChannelData).
	DataIndications uint64 `json:"data_indications"`
	// DroppedHere is how many datagrams this host dropped at the run's own
	// sockets, their queues being full; they are among the lost.
	DroppedHere uint64 `json:"dropped_here"`
}

// Direction is what became of the packets of one direction. Sent is Received +
// Lost + Corrupted, unless a corrupted one was a copy.
type Direction struct {
	Sent       uint64 `json:"sent"`
	Received   uint64 `json:"received"`   // unchanged, where they were sent to, copies not counted
	Lost       uint64 `json:"lost"`       // did not come at all
	Duplicated uint64 `json:"duplicated"` // copies of received ones
	Reordered  uint64 `json:"reordered"`  // received after one sent later (RFC 4737 §3.3)
	Corrupted  uint64 `json:"corrupted"`  // came with other bytes, more or fewer
	// Misdelivered came unchanged to where another was expected; they are lost
	// where they were sent to.
	Misdelivered uint64 `json:"misdelivered"`
	Foreign      uint64 `json:"foreign"` // datagrams of others, or of another run

	SentPerS     float64 `json:"sent_per_s"`
	ReceivedPerS float64 `json:"received_per_s"`
	ReceivedMbit float64 `json:"received_mbit_per_s"` // of payload

	// Times from sending to receiving in microseconds, of the received; 0
	// without any. All but the maximum are up to 1/32 too long.
	P50US float64 `json:"latency_p50_us"`
	P90US float64 `json:"latency_p90_us"`
	P99US float64 `json:"latency_p99_us"`
	MaxUS float64 `json:"latency_max_us"`
}

func (d *Direction) times(h *histogram) {
	us := func(t time.Duration) float64 { return float64(t) / float64(time.Microsecond) }
	d.P50US, d.P90US, d.P99US, d.MaxUS = us(h.quantile(0.5)), us(h.quantile(0.9)), us(h.quantile(0.99)), us(h.most)
}

// rates are over the time that packets were sent, and until the last one came.
func (d *Direction) rates(sending, receiving time.Duration, size int) {
	per := func(n uint64, t time.Duration) float64 {
		if t <= 0 {
			return 0
		}
		return math.Round(10*float64(n)/t.Seconds()) / 10
	}
	d.SentPerS, d.ReceivedPerS = per(d.Sent, sending), per(d.Received, receiving)
	d.ReceivedMbit = math.Round(d.ReceivedPerS*float64(size)*8/1e3) / 1e3
}

// bad names what should be 0.
func (d *Direction) bad() (names []string) {
	for _, c := range []struct {
		n    uint64
		name string
	}{{d.Lost, "lost"}, {d.Duplicated, "duplicated"}, {d.Corrupted, "corrupted"}, {d.Misdelivered, "misdelivered"}} {
		if c.n > 0 {
			names = append(names, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	return names
}

// judge decides whether the packets fared well.
func (r *Result) judge() error {
	var said []string
	for i, d := range []*Direction{&r.ToPeers, &r.ToClients} {
		if bad := d.bad(); len(bad) > 0 {
			said = append(said, []string{"to peers ", "to clients "}[i]+strings.Join(bad, ", "))
		}
	}
	if r.DataIndications > 0 {
		said = append(said, fmt.Sprintf("%d came to clients in Data indications although their channel is bound", r.DataIndications))
	}
	if len(said) == 0 {
		return nil
	}
	text := strings.Join(said, "; ")
	switch lost := r.ToPeers.Lost + r.ToClients.Lost; {
	case r.DroppedHere > 0:
		text += fmt.Sprintf("; %d of the lost were dropped at this host's own sockets: lower --rate, or raise net.core.rmem_max", r.DroppedHere)
	case lost > 0:
		text += "; see the relay's drops by reason (analyze summary), and the load of the hosts"
	}
	return fmt.Errorf("%w: %s", ErrImperfect, text)
}

// Write writes the result for a person, or as one JSON object and a newline.
func (r Result) Write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "relay    %s\n", r.Server)
	if r.TookS > 0 {
		fmt.Fprintf(&b, "load     %d allocations, peers on %s, %d bytes, %s\n", r.Allocations, r.PeerAddress, r.Size, r.pace())
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, " \tsent\treceived\tlost\tduplicated\treordered\tcorrupted\tmisdelivered\tforeign")
		for i, d := range []Direction{r.ToPeers, r.ToClients} {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", names[i], d.Sent, d.Received, d.Lost, d.Duplicated, d.Reordered, d.Corrupted, d.Misdelivered, d.Foreign)
		}
		_ = t.Flush()
		t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, " \tsent/s\treceived/s\tMbit/s\tp50 ms\tp90 ms\tp99 ms\tmax ms")
		for i, d := range []Direction{r.ToPeers, r.ToClients} {
			fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\n", names[i], d.SentPerS, d.ReceivedPerS, d.ReceivedMbit,
				d.P50US/1000, d.P90US/1000, d.P99US/1000, d.MaxUS/1000)
		}
		_ = t.Flush()
	}
	if r.OK {
		b.WriteString("ok\n")
	} else {
		fmt.Fprintf(&b, "FAILED   %s\n", r.Error)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var names = [ways]string{"to peers", "to clients"}

func (r *Result) pace() string {
	text := fmt.Sprintf("%d packets/s asked for, %.1f s", r.Rate, r.TookS)
	if r.Interrupted {
		text += fmt.Sprintf(" of %.1f s (interrupted)", r.DurationS)
	}
	if r.Unsent > 0 {
		text += fmt.Sprintf(", %d left out because this host fell behind", r.Unsent)
	}
	return text
}
