// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v3"
	pionturn "github.com/pion/turn/v3"

	"plumbline/relay/turn"
)

// pionServer runs the independent server on loopback. wrap may change its
// socket, permit its permissions.
func pionServer(t *testing.T, listen string, wrap func(net.PacketConn) net.PacketConn, permit pionturn.PermissionHandler) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	address := conn.LocalAddr().String()
	if wrap != nil {
		conn = wrap(conn)
	}
	s, err := pionturn.NewServer(pionturn.ServerConfig{
		Realm: "example.org",
		AuthHandler: func(user, realm string, _ net.Addr) ([]byte, bool) {
			return pionturn.GenerateAuthKey(user, realm, "right"), user == "alice"
		},
		LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard},
		PacketConnConfigs: []pionturn.PacketConnConfig{{PacketConn: conn, PermissionHandler: permit,
			RelayAddressGenerator: &pionturn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return address
}

// families runs a test over IPv4 with the independent client, and over IPv6
// with ours.
func families(t *testing.T, test func(t *testing.T, listen string, o Options)) {
	t.Parallel()
	for name, listen := range map[string]string{"pion over IPv4": "127.0.0.1:0", "direct over IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, listen, Options{User: "alice", Password: "right", IPv6: listen[0] == '[', Timeout: 10 * time.Second})
		})
	}
}

func TestHealthyRelay(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		o.Server, o.Count = pionServer(t, listen, nil, nil), 30
		r, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK || r.Sent != 30 || r.Received != 30 || r.Reached != 30 || r.Lost != 0 {
			t.Errorf("result %+v, want 30 of 30", r)
		}
		if r.ChannelData != 60 {
			t.Errorf("%d datagrams came by channel, want all 60", r.ChannelData)
		}
		if r.RTTMinUS <= 0 || r.RTTMinUS > r.RTTP50US || r.RTTP50US > r.RTTP99US {
			t.Errorf("round trips %d ≤ %d ≤ %d µs?", r.RTTMinUS, r.RTTP50US, r.RTTP99US)
		}
		if r.Server != o.Server || r.Relayed[0] == r.Relayed[1] || !r.Relayed[0].IsValid() || !r.Mapped[1].IsValid() {
			t.Errorf("addresses in %+v", r)
		}
		again, err := Run(t.Context(), o)
		if err != nil || again.Mapped == r.Mapped {
			t.Errorf("a second run: %v, from %v; want other ports than %v", err, again.Mapped, r.Mapped)
		}
	})
}

func TestNobodyListens(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		c, err := net.ListenPacket("udp", listen)
		if err != nil {
			t.Fatal(err)
		}
		o.Server = c.LocalAddr().String()
		c.Close()
		start := time.Now()
		r, err := Run(t.Context(), o)
		fails(t, r, err, ErrUnreachable, o.Server, "port is closed", "check that the relay runs")
		if took := time.Since(start); took > o.Timeout/2 {
			t.Errorf("took %v, although the host said at once that nobody listens", took)
		}
	})
}

func TestNoAnswer(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		c, err := net.ListenPacket("udp", listen)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		o.Server, o.Timeout = c.LocalAddr().String(), 300*time.Millisecond
		r, err := Run(t.Context(), o)
		fails(t, r, err, ErrUnreachable, o.Server, "did not answer", "firewall")
	})
}

func TestWrongPassword(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		o.Server, o.Password = pionServer(t, listen, nil, nil), "wrong"
		r, err := Run(t.Context(), o) // pion's server answers 400
		fails(t, r, err, ErrCredentials, `"alice"`, "400", "check user name and password")
		o.Server = pionServer(t, listen, always(stun.MethodAllocate, stun.CodeUnauthorized), nil)
		r, err = Run(t.Context(), o)
		fails(t, r, err, ErrCredentials, `"alice"`, "401", "check user name and password")
		if strings.Contains(err.Error(), "wrong") && strings.Contains(err.Error(), o.Password+`"`) {
			t.Errorf("the error tells the password: %v", err)
		}
	})
}

func TestPeerForbidden(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		o.Server = pionServer(t, listen, nil, func(net.Addr, net.IP) bool { return false })
		r, err := Run(t.Context(), o)
		fails(t, r, err, ErrForbidden, "127.0.0.1", "peers.deny")
		for _, method := range []stun.Method{stun.MethodCreatePermission, stun.MethodChannelBind} {
			o.Server = pionServer(t, listen, always(method, stun.CodeForbidden), nil)
			r, err = Run(t.Context(), o)
			fails(t, r, err, ErrForbidden, "403", r.Relayed[1].String(), "peers.deny")
		}
	})
}

func TestQuota(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		for code, says := range map[stun.ErrorCode]string{
			stun.CodeAllocQuotaReached:    "per_user",
			stun.CodeInsufficientCapacity: "allocations.ports",
			stun.CodeTryAlternate:         "draining",
			stun.CodeServerError:          "500",
		} {
			o.Server = pionServer(t, listen, always(stun.MethodAllocate, code), nil)
			r, err := Run(t.Context(), o)
			fails(t, r, err, ErrRefused, fmt.Sprint(int(code)), says)
		}
	})
}

func TestLoss(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		var came atomic.Int64
		o.Server = pionServer(t, listen, in(func(b []byte) bool { // from the 5th ping on, every third way is lost
			if b[0] == 0x40 && len(b) == 4+payloadSize {
				return came.Add(1)%3 != 0
			}
			return true
		}), nil)
		o.Count, o.Timeout = 20, 500*time.Millisecond
		r, err := Run(t.Context(), o)
		fails(t, r, err, ErrLoss, "of 20", "way there", "way back")
		// Of n that came to the relay, there and back, every third went no
		// further.
		n := int(came.Load())
		if r.Lost != n/3 || r.Received != 20-r.Lost || r.Sent+r.Reached != n {
			t.Errorf("result %+v of %d that came to the relay, %d lost", r, n, n/3)
		}
	})
}

func TestBlackHole(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		o.Server = pionServer(t, listen, in(func(b []byte) bool { return b[0]>>6 != 1 || len(b) < payloadSize }), nil)
		o.Count, o.Timeout = 5, 300*time.Millisecond
		r, err := Run(t.Context(), o)
		fails(t, r, err, ErrLoss, "none of 5", "accepted what it does not carry")
		if r.Lost != 5 || r.Received != 0 || r.RTTP99US != 0 {
			t.Errorf("result %+v", r)
		}
	})
}

// A relay that grants a channel and then sends Data indications relays all, and
// is broken all the same.
func TestChannelNotUsed(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		o.Server = pionServer(t, listen, out(func(b []byte) []byte {
			if number, payload, ok := turn.ParseChannelData(b); ok {
				peer := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), number)
				return turn.AppendDataIndication(nil, peer, payload, rand.NewPCG(1, 2))
			}
			return b
		}), nil)
		o.Count = 5
		r, err := Run(t.Context(), o)
		fails(t, r, err, ErrNoChannel, "Data indications")
		if r.ChannelData != 0 {
			t.Errorf("result %+v", r)
		}
	})
}

// A datagram that the network delivers twice is one echo.
func TestDuplicates(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		o.Server = pionServer(t, listen, func(c net.PacketConn) net.PacketConn { return twice{c} }, nil)
		o.Count = 10
		r, err := Run(t.Context(), o)
		if err != nil || r.Received != 10 || r.Reached != 10 || r.Lost != 0 {
			t.Errorf("%v, result %+v; want 10 of 10", err, r)
		}
	})
}

type twice struct{ net.PacketConn }

func (c twice) WriteTo(b []byte, to net.Addr) (int, error) {
	if turn.IsChannelData(b) {
		c.PacketConn.WriteTo(b, to)
	}
	return c.PacketConn.WriteTo(b, to)
}

// Our own client believes a relay only that knows the password too.
func TestForgedAnswer(t *testing.T) {
	t.Parallel()
	server := pionServer(t, "[::1]:0", out(func(b []byte) []byte {
		m := new(stun.Message)
		if stun.Decode(b, m) != nil || m.Type != stun.NewType(stun.MethodAllocate, stun.ClassSuccessResponse) {
			return b
		}
		return stun.MustBuild(m, m.Type, stun.RawAttribute{Type: stun.AttrXORRelayedAddress, Value: make([]byte, 8)},
			stun.NewLongTermIntegrity("alice", "example.org", "forged")).Raw
	}), nil)
	r, err := Run(t.Context(), Options{Server: server, User: "alice", Password: "right", IPv6: true, Timeout: 10 * time.Second})
	fails(t, r, err, ErrUnreachable, "not from who knows the password")
}

func TestCancelled(t *testing.T) {
	families(t, func(t *testing.T, listen string, o Options) {
		ctx, cancel := context.WithCancel(t.Context())
		o.Server = pionServer(t, listen, in(func([]byte) bool { cancel(); return false }), nil)
		if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want that the context ended", err)
		}
	})
}

func TestNoSuchServer(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"", ":", "127.0.0.1:no-such-port", "[::1]:3478"} {
		r, err := Run(t.Context(), Options{Server: server})
		fails(t, r, err, ErrUnreachable)
	}
	r, err := Run(t.Context(), Options{Server: "127.0.0.1", IPv6: true})
	fails(t, r, err, ErrUnreachable, "IPv6", "without --ipv6")
}

func TestWrite(t *testing.T) {
	t.Parallel()
	o := Options{Server: pionServer(t, "127.0.0.1:0", nil, nil), User: "alice", Password: "right", Count: 3, Timeout: 10 * time.Second}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var human, machine bytes.Buffer
	if err := errors.Join(r.Write(&human, false), r.Write(&machine, true)); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{o.Server, r.Relayed[1].String(), "3 of 3", "0.0 % lost", "p99", "6 of 6 datagrams by channel", "\nok\n"} {
		if !strings.Contains(human.String(), part) {
			t.Errorf("no %q in\n%s", part, human.String())
		}
	}
	var back Result
	if err := json.Unmarshal(machine.Bytes(), &back); err != nil || back != r {
		t.Errorf("JSON gave back %+v, %v; want %+v", back, err, r)
	}
	r.OK, r.Error = false, "no answer"
	human.Reset()
	if err := r.Write(&human, false); err != nil || !strings.Contains(human.String(), "FAILED     no answer\n") {
		t.Errorf("%v:\n%s", err, human.String())
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	took := make([]time.Duration, 300) // two thirds lost
	for i := range 100 {
		took[3*i] = time.Duration(100-i) * time.Millisecond
	}
	var r Result
	r.times(took)
	if r.RTTMinUS != 1000 || r.RTTP50US != 50000 || r.RTTP99US != 99000 {
		t.Errorf("min %d, p50 %d, p99 %d µs; want 1000, 50000, 99000", r.RTTMinUS, r.RTTP50US, r.RTTP99US)
	}
}

func fails(t *testing.T, r Result, err, is error, says ...string) {
	t.Helper()
	if !errors.Is(err, is) || r.OK || r.Error != err.Error() {
		t.Fatalf("error %v in %+v, want %v", err, r, is)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in: %v", part, err)
		}
	}
}

// in drops what comes to the server unless keep agrees.
func in(keep func([]byte) bool) func(net.PacketConn) net.PacketConn {
	return func(c net.PacketConn) net.PacketConn { return &filter{PacketConn: c, keep: keep} }
}

// out changes what the server sends.
func out(change func([]byte) []byte) func(net.PacketConn) net.PacketConn {
	return func(c net.PacketConn) net.PacketConn { return &filter{PacketConn: c, change: change} }
}

// always answers every request of a method that carries credentials with an
// error code.
func always(method stun.Method, code stun.ErrorCode) func(net.PacketConn) net.PacketConn {
	return out(func(b []byte) []byte {
		m := new(stun.Message)
		if stun.Decode(b, m) != nil || m.Type.Method != method || m.Contains(stun.AttrNonce) {
			return b
		}
		return stun.MustBuild(m, stun.NewType(method, stun.ClassErrorResponse), code).Raw
	})
}

type filter struct {
	net.PacketConn
	keep   func([]byte) bool
	change func([]byte) []byte
}

func (f *filter) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := f.PacketConn.ReadFrom(b)
		if err != nil || f.keep == nil || f.keep(b[:n]) {
			return n, from, err
		}
	}
}

func (f *filter) WriteTo(b []byte, to net.Addr) (int, error) {
	if f.change == nil {
		return f.PacketConn.WriteTo(b, to)
	}
	_, err := f.PacketConn.WriteTo(f.change(b), to)
	return len(b), err
}
