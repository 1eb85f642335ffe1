// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"plumbline/logs"
)

// Result is what a probe found. Of the pairs, the first is the end that sends
// and the second the one that echoes.
type Result struct {
	OK        bool         `json:"ok"`
	Error     string       `json:"error,omitempty"`
	Server    string       `json:"server"`
	Transport string       `json:"transport"` // to the server: udp4, udp6
	User      string       `json:"user"`
	Mapped    [2]logs.Addr `json:"mapped"` // the clients as the server sees them
	Relayed   [2]logs.Addr `json:"relayed"`
	Sent      int          `json:"sent"`
	Reached   int          `json:"reached"`  // the echoing end
	Received  int          `json:"received"` // back at the sending end
	Lost      int          `json:"lost"`     // sent and not received
	// ChannelData is how many datagrams came to either end by a channel, of
	// all that should have: Reached + Received.
	ChannelData int `json:"channel_data"`
	// Round trips through both allocations, in microseconds; 0 when there
	// were none.
	RTTMinUS int64 `json:"rtt_min_us"`
	RTTP50US int64 `json:"rtt_p50_us"`
	RTTP99US int64 `json:"rtt_p99_us"`
}

// times fills in the round trips' quantiles (nearest rank). Zeros are of
// datagrams that did not come back.
func (r *Result) times(took []time.Duration) {
	sorted := slices.DeleteFunc(slices.Clone(took), func(d time.Duration) bool { return d == 0 })
	if len(sorted) == 0 {
		return
	}
	slices.Sort(sorted)
	at := func(percent int) int64 {
		rank := (len(sorted)*percent + 99) / 100
		return sorted[max(rank, 1)-1].Microseconds()
	}
	r.RTTMinUS, r.RTTP50US, r.RTTP99US = sorted[0].Microseconds(), at(50), at(99)
}

// Write writes the result for a person, or as one JSON object and a newline.
func (r Result) Write(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "relay      %s over %s\n", r.Server, r.Transport)
	for i, who := range []string{"sender  ", "receiver"} {
		if r.Mapped[i].IsValid() {
			fmt.Fprintf(&b, "%s   %s", who, r.Mapped[i])
			if r.Relayed[i].IsValid() {
				fmt.Fprintf(&b, ", relayed at %s", r.Relayed[i])
			}
			b.WriteByte('\n')
		}
	}
	if r.Sent > 0 {
		fmt.Fprintf(&b, "echoes     %d of %d, %.1f %% lost, %d of %d datagrams by channel\n", r.Received, r.Sent,
			100*float64(r.Lost)/float64(r.Sent), r.ChannelData, r.Reached+r.Received)
	}
	if r.Received > 0 {
		fmt.Fprintf(&b, "round trip min %s, p50 %s, p99 %s (through both allocations)\n", ms(r.RTTMinUS), ms(r.RTTP50US), ms(r.RTTP99US))
	}
	if r.OK {
		b.WriteString("ok\n")
	} else {
		fmt.Fprintf(&b, "FAILED     %s\n", r.Error)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func ms(us int64) string { return fmt.Sprintf("%.3f ms", float64(us)/1000) }
