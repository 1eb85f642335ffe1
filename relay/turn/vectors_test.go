// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/pion/stun/v3"
)

// The sample messages of RFC 5769, for everything that the codec is used for
// here: decoding, FINGERPRINT, MESSAGE-INTEGRITY with both kinds of key, and
// XOR-MAPPED-ADDRESS of both families.
const (
	vectorRequest = `000100582112a442b7e7a701bc34d686fa87dfae
		802200105354554e207465737420636c69656e74 002400046e0001ff 80290008932ff9b151263b36
		000600096576746a3a68367659202020 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf`
	vectorIPv4 = `0101003c2112a442b7e7a701bc34d686fa87dfae
		8022000b7465737420766563746f7220 002000080001a147e112a643
		000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96`
	vectorIPv6 = `010100482112a442b7e7a701bc34d686fa87dfae
		8022000b7465737420766563746f7220 002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
		00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c`
	vectorLongTerm = `000100602112a44278ad3433c6ad72c029da412e
		00060012e3839ee38388e383aae38383e382afe382b90000 0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341
		0014000b6578616d706c652e6f726700 00080014f67024656dd64a3e02b8e0712e85c9a28ca89666`
)

func vector(t testing.TB, s string) *stun.Message {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !wholeMessage(b) {
		t.Fatalf("not a whole message: %x", b)
	}
	m := stun.NewWithOptions(stun.WithStrict(true))
	if _, err := m.Write(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRFC5769(t *testing.T) {
	short := stun.NewShortTermIntegrity("VOkJxbRl1RmTxUk/WvJxBt")
	for name, s := range map[string]string{"request": vectorRequest, "IPv4 response": vectorIPv4, "IPv6 response": vectorIPv6} {
		m := vector(t, s)
		if err := short.Check(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := stun.Fingerprint.Check(m); err != nil || !fingerprintLast(m.Raw) {
			t.Errorf("%s: %v", name, err)
		}
		m.Raw[30] ^= 1
		if short.Check(m) == nil || stun.Fingerprint.Check(m) == nil {
			t.Errorf("%s: a changed message passes", name)
		}
	}
	if got := addressOf(t, vector(t, vectorIPv4), stun.AttrXORMappedAddress); got != ap("192.0.2.1:32853") {
		t.Errorf("IPv4: %s", got)
	}
	if got := addressOf(t, vector(t, vectorIPv6), stun.AttrXORMappedAddress); got != ap("[2001:db8:1234:5678:11:2233:4455:6677]:32853") {
		t.Errorf("IPv6: %s", got)
	}
	// Our own decoder of the same format.
	for s, want := range map[string]string{vectorIPv4: "192.0.2.1:32853", vectorIPv6: "[2001:db8:1234:5678:11:2233:4455:6677]:32853"} {
		m := vector(t, s)
		value, err := m.Get(stun.AttrXORMappedAddress)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := xorPeer(value, &m.TransactionID); !ok || got != ap(want) {
			t.Errorf("xorPeer: %s, want %s", got, want)
		}
	}

	m := vector(t, vectorLongTerm)
	var user stun.Username
	var realm stun.Realm
	if user.GetFrom(m) != nil || realm.GetFrom(m) != nil {
		t.Fatal("no credentials")
	}
	if err := stun.NewLongTermIntegrity(user.String(), realm.String(), "TheMatrIX").Check(m); err != nil {
		t.Errorf("long-term: %v", err)
	}
	if stun.NewLongTermIntegrity(user.String(), realm.String(), "TheMatrix").Check(m) == nil {
		t.Error("a wrong password passes")
	}
}
