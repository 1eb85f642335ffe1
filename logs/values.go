// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// timeLayout is fixed in width: with trimmed zeros, lines would no longer sort
// by string ("00.12Z" after "00.1Z" but before "00.115Z").
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// Time is a moment as lines write it: UTC with nine fractional digits. Its
// zero value is written as null.
type Time struct{ time.Time }

// MarshalJSON writes the fixed-width form.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.appendJSON(make([]byte, 0, len(timeLayout)+2)), nil
}

func (t Time) appendJSON(b []byte) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	return t.UTC().AppendFormat(b, `"`+timeLayout+`"`)
}

// UnmarshalJSON reads any RFC 3339 time, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	return t.Time.UnmarshalJSON(b)
}

// String is the fixed-width form.
func (t Time) String() string { return t.UTC().Format(timeLayout) }

// Channel is a TURN channel number, written as "0x4000". Zero stands for "no
// channel" and is written as null.
type Channel uint16

// MarshalJSON writes the hexadecimal form, or null for zero.
func (c Channel) MarshalJSON() ([]byte, error) {
	if c == 0 {
		return []byte("null"), nil
	}
	return []byte(`"` + c.String() + `"`), nil
}

func (c Channel) appendJSON(b []byte) []byte {
	if c == 0 {
		return append(b, "null"...)
	}
	return append(b, '"', '0', 'x', hexDigits[c>>12], hexDigits[c>>8&15], hexDigits[c>>4&15], hexDigits[c&15], '"')
}

// UnmarshalJSON reads the hexadecimal form, or null.
func (c *Channel) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*c = 0
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		return fmt.Errorf("channel %q: want a number such as 0x4000", s)
	}
	*c = Channel(n)
	return nil
}

// String is the hexadecimal form.
func (c Channel) String() string { return fmt.Sprintf("0x%04x", uint16(c)) }

// Addr is a transport address that may be absent: the zero value is null.
type Addr struct{ netip.AddrPort }

// MarshalJSON writes "ip:port", or null.
func (a Addr) MarshalJSON() ([]byte, error) {
	if !a.IsValid() {
		return []byte("null"), nil
	}
	return json.Marshal(a.AddrPort)
}

func (a Addr) appendJSON(b []byte) []byte {
	if !a.IsValid() {
		return append(b, "null"...)
	}
	if a.Addr().Zone() != "" { // an interface name may hold any byte
		return appendString(b, a.String())
	}
	return append(a.AppendTo(append(b, '"')), '"')
}

// UnmarshalJSON reads "ip:port", or null.
func (a *Addr) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*a = Addr{}
		return nil
	}
	return json.Unmarshal(b, &a.AddrPort)
}

// Traffic is a number of packets and the bytes of their UDP payload as the
// client or peer counts it, without the ChannelData header.
type Traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Add is the sum of two amounts.
func (t Traffic) Add(o Traffic) Traffic { return Traffic{t.Packets + o.Packets, t.Bytes + o.Bytes} }

// Sub is what came since o.
func (t Traffic) Sub(o Traffic) Traffic { return Traffic{t.Packets - o.Packets, t.Bytes - o.Bytes} }

// Shares splits traffic by the datapath that carried it.
type Shares struct {
	Kernel    Traffic `json:"kernel"`
	Userspace Traffic `json:"userspace"`
}

// Change is one config or route field that got another value. Values are JSON
// values; a secret shows only as the word "changed".
type Change struct {
	Field string `json:"field"`
	From  any    `json:"from"`
	To    any    `json:"to"`
}

// Difference is one field in which the kernel does not hold what was intended.
type Difference struct {
	Field    string `json:"field"`
	Intended any    `json:"intended"`
	Kernel   any    `json:"kernel"`
}

// RouterConfig is the router's config as a line shows it: on the intended side
// what user space wants, on the kernel side what was read back from the map.
type RouterConfig struct {
	ABI         uint32   `json:"abi"`
	Generation  uint32   `json:"generation"`
	Enabled     bool     `json:"enabled"`
	UDPChecksum bool     `json:"udp_checksum"`
	LowestPort  uint16   `json:"lowest_port"`
	HighestPort uint16   `json:"highest_port"`
	ListenPorts []uint16 `json:"listen_ports"`
	// Valid is false, and written, only where a slot of the kernel holds no
	// valid config; the fields then show what is there.
	Valid *bool `json:"valid,omitempty"`
}
