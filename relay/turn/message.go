// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"

	"github.com/pion/stun/v3"
)

// Attributes that the codec has no name for (RFC 8656 §18).
const (
	attrAdditionalAddressFamily stun.AttrType = 0x8000
	attrAddressErrorCode        stun.AttrType = 0x8001
)

// Address families as attributes write them (RFC 8489 §14.1).
const familyIPv4, familyIPv6 = 0x01, 0x02

const magicCookie = 0x2112A442

// reasons are the phrases that go with error codes (RFC 8489 §14.8, RFC 8656
// §19). The codec's own says "Unauthorized" for 401, which RFC 8489 renamed.
var reasons = map[stun.ErrorCode]string{
	400: "Bad Request",
	401: "Unauthenticated",
	403: "Forbidden",
	420: "Unknown Attribute",
	437: "Allocation Mismatch",
	438: "Stale Nonce",
	440: "Address Family not Supported",
	441: "Wrong Credentials",
	442: "Unsupported Transport Protocol",
	443: "Peer Address Family Mismatch",
	486: "Allocation Quota Reached",
	500: "Server Error",
	508: "Insufficient Capacity",
}

// request is one request while it is being answered.
type request struct {
	now         time.Time
	tuple       FiveTuple
	msg         *stun.Message
	method      stun.Method
	id          [stun.TransactionIDSize]byte
	fingerprint bool // it carried one, so the answer does
	user        string
	key         stun.MessageIntegrity // nil until authenticated
}

// decode takes what may be answered: a well-formed request of a method that is
// served here, from a source that can be answered. Everything else is counted
// and dropped, as RFC 8489 §6.3 wants it.
func (s *Server) decode(now time.Time, from FiveTuple, datagram []byte) (*request, bool) {
	drop := func(reason string) (*request, bool) {
		s.counters[reason]++
		return nil, false
	}
	from.Client = unmap(from.Client)
	from.Server = unmap(from.Server)
	if !answerable(from.Client) {
		return drop("source_invalid")
	}
	if !wholeMessage(datagram) {
		return drop("malformed")
	}
	m := &s.request
	if _, err := m.Write(datagram); err != nil {
		return drop("malformed")
	}
	r := &request{now: now, tuple: from, msg: m, method: m.Type.Method, id: m.TransactionID}
	if m.Contains(stun.AttrFingerprint) {
		if !fingerprintLast(datagram) || stun.Fingerprint.Check(m) != nil {
			return drop("fingerprint_mismatch")
		}
		r.fingerprint = true
	}
	switch m.Type.Class {
	case stun.ClassRequest:
	case stun.ClassIndication:
		return drop("indication")
	default:
		return drop("response")
	}
	switch r.method {
	case stun.MethodBinding, stun.MethodAllocate, stun.MethodRefresh,
		stun.MethodCreatePermission, stun.MethodChannelBind:
		return r, true
	}
	return drop("unknown_method")
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// answerable is false for sources that no honest datagram carries; answering
// one would fail, or reach a whole network.
func answerable(client netip.AddrPort) bool {
	a := client.Addr()
	return client.Port() != 0 && a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// wholeMessage is true when the datagram is one STUN message and nothing else,
// judged by its header alone (RFC 8489 §5).
func wholeMessage(b []byte) bool {
	return len(b) >= 20 && b[0]>>6 == 0 && len(b)%4 == 0 &&
		binary.BigEndian.Uint32(b[4:]) == magicCookie &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-20
}

// fingerprintLast is true when the last attribute can be a FINGERPRINT, the
// only place where one counts (RFC 8489 §14.7).
func fingerprintLast(b []byte) bool {
	return len(b) >= 28 && binary.BigEndian.Uint32(b[len(b)-8:]) == uint32(stun.AttrFingerprint)<<16|4
}

// known lists the comprehension-required attributes that this server
// understands, whether or not a method expects them (RFC 8489 §6.3.1).
func known(t stun.AttrType) bool {
	switch t {
	case stun.AttrMappedAddress, stun.AttrUsername, stun.AttrMessageIntegrity, stun.AttrErrorCode,
		stun.AttrUnknownAttributes, stun.AttrRealm, stun.AttrNonce, stun.AttrXORMappedAddress,
		stun.AttrChannelNumber, stun.AttrLifetime, stun.AttrXORPeerAddress, stun.AttrData,
		stun.AttrXORRelayedAddress, stun.AttrRequestedAddressFamily, stun.AttrEvenPort,
		stun.AttrRequestedTransport, stun.AttrDontFragment, stun.AttrReservationToken:
		return true
	}
	return false
}

// understood answers 420 to a request that holds what must be understood and
// is not (RFC 8489 §6.3.1). It comes after authentication, as there.
func (s *Server) understood(r *request) bool {
	var unknown stun.UnknownAttributes
	signed := false
	for _, a := range r.msg.Attributes {
		if a.Type == stun.AttrMessageIntegrity {
			signed = true
		}
		// MESSAGE-INTEGRITY-SHA256 may follow MESSAGE-INTEGRITY, and a server
		// that does not know it ignores it there like anything else.
		if !a.Type.Required() || known(a.Type) || signed && a.Type == stun.AttrMessageIntegritySHA256 {
			continue
		}
		// An answer never grows with the number of times that one is repeated.
		if !contains(unknown, a.Type) {
			unknown = append(unknown, a.Type)
		}
	}
	if unknown == nil {
		return true
	}
	s.refuse(r, stun.CodeUnknownAttribute, unknown)
	return false
}

func contains(list stun.UnknownAttributes, t stun.AttrType) bool {
	for _, have := range list {
		if have == t {
			return true
		}
	}
	return false
}

// attribute adds one attribute by its raw value.
func attribute(t stun.AttrType, value ...byte) stun.Setter {
	return stun.RawAttribute{Type: t, Value: value}
}

// xorAddress writes an address for a message whose transaction id is set.
type xorAddress struct {
	attr stun.AttrType
	addr netip.AddrPort
}

func (x xorAddress) AddTo(m *stun.Message) error {
	a := stun.XORMappedAddress{IP: x.addr.Addr().AsSlice(), Port: int(x.addr.Port())}
	return a.AddToAs(m, x.attr)
}

func mapped(r *request) stun.Setter { return xorAddress{stun.AttrXORMappedAddress, r.tuple.Client} }

func lifetimeAttribute(d time.Duration) stun.Setter {
	return attribute(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, uint32(d/time.Second))...)
}

// succeed answers with a success response, signed when the request was.
func (s *Server) succeed(r *request, attributes ...stun.Setter) []byte {
	raw := s.answer(r, stun.ClassSuccessResponse, attributes)
	if raw != nil {
		s.counters["success"]++
	}
	return raw
}

// refuse answers with an error response, signed when the request was
// authenticated.
func (s *Server) refuse(r *request, code stun.ErrorCode, attributes ...stun.Setter) {
	e := stun.ErrorCodeAttribute{Code: code, Reason: []byte(reasons[code])}
	if s.answer(r, stun.ClassErrorResponse, append([]stun.Setter{e}, attributes...)) != nil {
		s.counters["refused_"+strconv.Itoa(int(code))]++
	}
}

func (s *Server) answer(r *request, class stun.MessageClass, attributes []stun.Setter) []byte {
	if r.key == nil && !s.replies.allow(r.now, r.tuple.Client.Addr(), s.cfg.UnauthenticatedPerSecond) {
		s.counters["rate_limited"]++
		return nil
	}
	m := stun.New()
	m.TransactionID = r.id
	setters := append([]stun.Setter{stun.NewType(r.method, class)}, attributes...)
	if r.key != nil {
		setters = append(setters, r.key)
	}
	if r.fingerprint {
		setters = append(setters, stun.Fingerprint)
	}
	if err := m.Build(setters...); err != nil {
		// Only a config that no validation saw can lead here, such as a realm
		// of more than 763 bytes.
		s.counters["unencodable"]++
		return nil
	}
	s.do(Send{To: r.tuple, Payload: m.Raw})
	return m.Raw
}

// uint32Attribute reads an attribute of four bytes. malformed is true when it
// is there with another length.
func uint32Attribute(m *stun.Message, t stun.AttrType) (value uint32, present, malformed bool) {
	b, err := m.Get(t)
	if err != nil {
		return 0, false, false
	}
	if len(b) != 4 {
		return 0, true, true
	}
	return binary.BigEndian.Uint32(b), true, false
}

// xorPeer decodes the value of an XOR-PEER-ADDRESS (RFC 8489 §14.2). An
// IPv4-mapped IPv6 address stays IPv6: taking it for IPv4 has let clients of
// other relays past their deny lists.
func xorPeer(value []byte, id *[stun.TransactionIDSize]byte) (netip.AddrPort, bool) {
	if len(value) < 4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ magicCookie>>16
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], magicCookie)
	copy(mask[4:], id[:])
	switch {
	case value[1] == familyIPv4 && len(value) == 8:
		var ip [4]byte
		for i := range ip {
			ip[i] = value[4+i] ^ mask[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom4(ip), port), true
	case value[1] == familyIPv6 && len(value) == 20:
		var ip [16]byte
		for i := range ip {
			ip[i] = value[4+i] ^ mask[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom16(ip), port), true
	}
	return netip.AddrPort{}, false
}
