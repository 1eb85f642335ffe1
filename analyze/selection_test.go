// SPDX-License-Identifier: Apache-2.0

package analyze_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"plumbline/analyze"
	"plumbline/analyze/loggen"
	"plumbline/logs"
)

func address(s string) logs.Addr { return logs.Addr{AddrPort: netip.MustParseAddrPort(s)} }

// selectionLog is about two clients; seq numbers are told in the tests.
func selectionLog() *loggen.Log {
	l := loggen.NewLog("edge-1", "run-1", loggen.Start)
	one, two := address("198.51.100.4:1000"), address("[2001:db8::4]:1000")
	peer, other := address("192.0.2.9:9000"), address("192.0.2.9:9001")
	in := logs.Time{Time: loggen.Start.Add(time.Hour)}
	return l.Add(
		logs.Diagnostic{Level: logs.Debug, Text: "198.51.100.4 and a-1 in a text"},                                                // 1
		logs.AllocationCreated{Allocation: "a-1", Client: one, User: "alice", Expires: in},                                        // 2
		logs.AllocationCreated{Allocation: "a-11", Client: two, User: "bob", Expires: in},                                         // 3
		logs.PermissionCreated{Allocation: "a-1", Peer: "192.0.2.9", Expires: in},                                                 // 4
		logs.ChannelBound{Allocation: "a-11", Channel: 0x4000, Peer: peer, Expires: in},                                           // 5
		logs.RouteFailed{Route: logs.Route{Allocation: "a-1", Client: one, Channel: 0x4000, Peer: other, Expires: in}},            // 6
		logs.AllocationRefreshed{Allocation: "a-1", Expires: in},                                                                  // 7
		logs.AllocationDeleted{Allocation: "a-1", Client: one, Reason: "expired"},                                                 // 8
		logs.AllocationRefreshed{Allocation: "a-11", Expires: in},                                                                 // 9
		logs.AuthRejected{Client: one, User: `q"uote`, Code: 401, Reason: "wrong"},                                                // 10
		logs.CheckpointAllocation{Allocation: "a-12", Client: two, Permissions: []logs.CheckpointPermission{{Peer: "192.0.2.9"}}}, // 11
	)
}

func TestSelection(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return loggen.Start.Add(time.Duration(ms) * time.Millisecond) }
	for _, c := range []struct {
		name string
		sel  analyze.Selection
		want []uint64
	}{
		{"all", analyze.Selection{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
		{"since is included, until is not", analyze.Selection{Since: at(1), Until: at(3)}, []uint64{2, 3}},
		{"severity", analyze.Selection{Severity: logs.Warn}, []uint64{6, 10}},
		{"event", analyze.Selection{Event: "allocation.*,auth.rejected"}, []uint64{2, 3, 7, 8, 9, 10}},
		{"event by its whole name", analyze.Selection{Event: "route"}, []uint64{}},
		{"allocation, not those that begin like it", analyze.Selection{Allocation: "a-1"}, []uint64{2, 4, 6, 7, 8}},
		{"client with its allocation's lines", analyze.Selection{Client: "198.51.100.4"}, []uint64{2, 4, 6, 7, 8, 10}},
		{"client with a port", analyze.Selection{Client: "198.51.100.4:1000"}, []uint64{2, 4, 6, 7, 8, 10}},
		{"client with another port", analyze.Selection{Client: "198.51.100.4:1001"}, []uint64{}},
		{"client in IPv6, spelt out", analyze.Selection{Client: "2001:DB8:0::4"}, []uint64{3, 5, 9, 11}},
		{"client in IPv6 with a port", analyze.Selection{Client: "[2001:db8::4]:1000"}, []uint64{3, 5, 9, 11}},
		{"client learned outside of the time", analyze.Selection{Client: "198.51.100.4", Since: at(6)}, []uint64{7, 8, 10}},
		{"peer", analyze.Selection{Peer: "192.0.2.9"}, []uint64{4, 5, 6, 11}},
		{"peer with a port", analyze.Selection{Peer: "192.0.2.9:9000"}, []uint64{4, 5, 11}},
		{"client and peer", analyze.Selection{Client: "198.51.100.4", Peer: "192.0.2.9"}, []uint64{4, 6}},
	} {
		for _, form := range []string{"as written", "reordered"} {
			t.Run(c.name+", "+form, func(t *testing.T) {
				t.Parallel()
				data := selectionLog().Bytes()
				if form == "reordered" {
					data = reorder(t, data)
				}
				s, err := analyze.NewSelector(c.sel)
				if err != nil {
					t.Fatal(err)
				}
				r := analyze.Open([]string{"-"}, analyze.Options{Stdin: bytes.NewReader(data)})
				got := []uint64{}
				for {
					l, err := r.Next()
					if err != nil {
						break
					}
					if s.Match(l) {
						got = append(got, l.Seq)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		}
	}
}

// reorder writes the lines as a tool would that sorts keys and adds spaces.
func reorder(t *testing.T, data []byte) []byte {
	var out []byte
	for line := range bytes.Lines(data) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.MarshalIndent(v, "", "")
		if err != nil {
			t.Fatal(err)
		}
		out = append(append(out, bytes.ReplaceAll(b, []byte("\n"), []byte(" "))...), '\n')
	}
	return out
}

func TestSelectionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for _, sel := range []analyze.Selection{
		{Event: "["}, {Event: "a,,b"}, {Client: "host"}, {Peer: "1.2.3.4:99999"}, {Client: "1.2.3"},
		{Since: loggen.Start, Until: loggen.Start},
	} {
		if _, err := analyze.NewSelector(sel); err == nil {
			t.Errorf("%+v is taken", sel)
		}
	}
}

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]string{
		"2026-11-24T03:22:12.12Z":        "2026-11-24T03:22:12.120000000Z",
		"2026-11-24T03:22:12.120000000Z": "2026-11-24T03:22:12.120000000Z",
		"2026-11-24T03:22:12+02:00":      "2026-11-24T01:22:12.000000000Z",
		"2026-11-24 10:00":               "2026-11-24T10:00:00.000000000Z",
		"2026-11-24 10:00:05.5":          "2026-11-24T10:00:05.500000000Z",
		"2026-11-24 10:00+01:00":         "2026-11-24T09:00:00.000000000Z",
		"2026-11-24T10:00":               "2026-11-24T10:00:00.000000000Z",
		"2026-11-24":                     "2026-11-24T00:00:00.000000000Z",
		"-15m":                           "2026-11-24T11:45:00.000000000Z",
		"-1h30m":                         "2026-11-24T10:30:00.000000000Z",
	} {
		got, err := analyze.Moment(s, now)
		if err != nil || (logs.Time{Time: got}).String() != want {
			t.Errorf("%s: %v, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "now", "15m", "--15m", "-", "2026-13-01", "10:00"} {
		if got, err := analyze.Moment(s, now); err == nil {
			t.Errorf("%q is taken as %v", s, got)
		}
	}
}

// A user may call itself anything; fields are found by name all the same.
func TestFieldIsNotFooledByValues(t *testing.T) {
	t.Parallel()
	raw := bytes.TrimSpace(loggen.AppendLine(nil, loggen.Start, "r", "1", 1, logs.AllocationCreated{
		Allocation: `","client":"9.9.9.9:9`, Client: address("1.2.3.4:5"), User: `"packets":7`}))
	if got := string(analyze.Field(raw, "client")); got != "1.2.3.4:5" {
		t.Errorf("client %q", got)
	}
	if got := string(analyze.Field(raw, "allocation")); got != `","client":"9.9.9.9:9` {
		t.Errorf("allocation %q", got)
	}
	if got := analyze.Field(raw, "packets"); got != nil {
		t.Errorf("packets %q", got)
	}
}
