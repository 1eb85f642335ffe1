// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// timed is a config with both sorts of credentials.
func timed() Config {
	cfg := testConfig()
	cfg.SharedSecret = "north"
	return cfg
}

// expiring is a user name that expires d after the tests begin, and its
// password, made by the letter of the scheme and not by the code under test.
func expiring(d time.Duration, id string) (name, password string) {
	name = fmt.Sprint(start.Add(d).Unix())
	if id != "" {
		name += ":" + id
	}
	mac := hmac.New(sha1.New, []byte("north"))
	mac.Write([]byte(name))
	return name, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// The passwords are the output of
// printf NAME | openssl dgst -sha1 -hmac north -binary | base64
func TestTimeLimitedVectors(t *testing.T) {
	for name, password := range map[string]string{
		"1893456000:alice": "MME/7rvfb/gOjpkB59+7AxlCLvk=",
		"1893456000":       "sqdTDrNuKKg7b57nGt21S56Eu5s=",
	} {
		if got := timeLimitedPassword("north", name); got != password {
			t.Errorf("%s: password %s, want %s", name, got, password)
		}
		w := newWorld(t, timed())
		c := w.client(alicesAddress, name, password)
		c.want(0, c.allocate())
		// The key is that of any long-term credential (RFC 8489 §9.2.2), over
		// the whole user name.
		key := md5.Sum([]byte(name + ":example.org:" + password))
		m := c.want(0, c.refresh(600))
		if stun.MessageIntegrity(key[:]).Check(m) != nil {
			t.Errorf("%s: the answer is signed with another key", name)
		}
	}
}

func TestTimeLimitedNames(t *testing.T) {
	for name, want := range map[string]string{
		"1893456000:alice":          "alice",
		"1893456000:a:b":            "a:b",
		"1893456000:büro":           "büro",
		"1893456000":                "1893456000",
		"1893456000:":               "1893456000:",
		"0:alice":                   "alice",
		"9223372036854775807:alice": "alice",
		"9223372036854775808:alice": "", // 2⁶³: such a time can't be compared
		"99999999999999999999:a":    "",
		"-1:alice":                  "",
		"+1893456000:alice":         "",
		" 1893456000:alice":         "",
		"1893456000 :alice":         "",
		"1_893_456_000:alice":       "",
		"0x70dbd880:alice":          "",
		"1893456000.5:alice":        "",
		"alice:1893456000":          "",
		":alice":                    "",
		":":                         "",
		"":                          "",
		"alice":                     "",
		"1893456000:al\x00ce":       "",
		"1893456000:al\nce":         "",
		"1893456000:al\xffce":       "",
		"١٨٩٣٤٥٦٠٠٠:alice":          "", // digits, but not ASCII
	} {
		account, expiry, ok := timeLimited(name)
		if ok != (want != "") || account != want || !ok && expiry != 0 {
			t.Errorf("%q is of %q until %d, %v; want %q", name, account, expiry, ok, want)
		}
	}
}

// A credential is good before its second and not in it, also for an allocation
// that it has made.
func TestTimeLimitedExpiry(t *testing.T) {
	w := newWorld(t, timed())
	name, password := expiring(100*time.Second, "carol")
	c := w.client(alicesAddress, name, password)
	c.want(0, c.allocate())
	w.now = start.Add(100*time.Second - time.Nanosecond)
	c.want(0, c.refresh(600))
	w.now = start.Add(100 * time.Second)
	m := c.want(401, c.refresh(600))
	wantTypes(t, m, stun.AttrErrorCode, stun.AttrRealm, stun.AttrNonce)
	if e, ok := w.events[0].(logs.AuthRejected); !ok || e.User != "carol" || !strings.Contains(e.Reason, "expired") {
		t.Errorf("events %+v", w.events)
	}
	other := w.client("198.51.100.4:40113", name, password)
	other.want(401, other.allocate())
	if w.s.Len() != 1 {
		t.Fatal("the allocation ended with its credential, before its lifetime did")
	}

	// A newer credential of the same ID goes on with it; another's does not.
	c.user, c.password = expiring(time.Hour, "mallory")
	c.want(441, c.refresh(600))
	c.user, c.password = expiring(time.Hour, "carol")
	c.want(0, c.refresh(600))
	if v := w.view(t, "a-1"); v.User != "carol" {
		t.Errorf("the allocation is of %q", v.User)
	}
}

// What has expired, is malformed, is signed with another secret, or is not
// enabled is answered as an unknown user is, byte for byte.
func TestTimeLimitedRefusalsLookTheSame(t *testing.T) {
	good, goodPassword := expiring(time.Hour, "al")
	gone, gonePassword := expiring(-time.Hour, "al")
	edge, edgePassword := expiring(time.Second, "al") // the second attempt's time
	same := func(name string) string { return timeLimitedPassword("north", name) }
	none := timed()
	none.SharedSecret = ""
	var first []byte
	for i, who := range []struct {
		cfg            Config
		name, password string
	}{
		{timed(), "nobody-at-all", "wrong"},
		{timed(), "alice", "wrong"},
		{timed(), good, "wrong"},
		{timed(), good, timeLimitedPassword("south", good)},
		{timed(), good, ""},
		{timed(), gone, gonePassword},
		{timed(), gone, "wrong"},
		{timed(), edge, edgePassword},
		{timed(), "alice", same("alice")},
		{timed(), "nobody", same("nobody")},
		{timed(), "al:" + good[:10], same("al:" + good[:10])},
		{timed(), "9223372036854775808:al", same("9223372036854775808:al")},
		{none, good, goodPassword},
		{none, good, timeLimitedPassword("", good)},
		{none, gone, timeLimitedPassword("", gone)},
	} {
		w := newWorld(t, who.cfg)
		c := w.client(alicesAddress, who.name, who.password)
		c.take(c.raw(c.build(stun.MethodAllocate, c.newID(), udp)))
		w.now = w.now.Add(time.Second)
		m := c.raw(c.build(stun.MethodAllocate, c.newID(), udp))
		if codeOf(m) != 401 {
			t.Errorf("%d: %s is answered with %d", i, who.name, codeOf(m))
			continue
		}
		if first == nil {
			first = bytes.Clone(m.Raw)
		}
		if !bytes.Equal(m.Raw, first) {
			t.Errorf("%d: %s is answered otherwise:\n%x\n%x", i, who.name, m.Raw, first)
		}
		e, ok := w.events[0].(logs.AuthRejected)
		// Only who has proved to have held a credential is said to have had one.
		if expired := i == 5 || i == 7; !ok || strings.Contains(e.Reason, "expired") != expired {
			t.Errorf("%d: %s: event %+v", i, who.name, w.events)
		}
	}
}

// Names that look alike cost the same, whatever becomes of them: a lookup that
// ends early leaves the HMAC out, and with it what that allocates.
func TestNoNameIsJudgedEarly(t *testing.T) {
	off := timed()
	off.SharedSecret = ""
	good, _ := expiring(time.Hour, "al")
	gone, _ := expiring(-time.Hour, "al")
	var kept string // so that the compiler leaves nothing out
	for _, cfg := range []Config{timed(), off} {
		cost := func(name string) float64 {
			return testing.AllocsPerRun(100, func() { kept = cfg.credential(name, start).password })
		}
		if known, unknown := cost("alice"), cost("nobod"); known != unknown {
			t.Errorf("a known name allocates %g times, an unknown one %g times", known, unknown)
		}
		if valid, expired := cost(good), cost(gone); valid != expired {
			t.Errorf("a valid name allocates %g times, an expired one %g times", valid, expired)
		}
		mac := testing.AllocsPerRun(100, func() { kept = timeLimitedPassword(cfg.SharedSecret, good) })
		if c := cost(good); c < mac || mac == 0 || kept == "" {
			t.Errorf("a name costs %g allocations, its HMAC alone %g", c, mac)
		}
	}
}

// The quota is of the ID, over all of its credentials; names without an ID are
// accounts of their own.
func TestQuotaCountsTheID(t *testing.T) {
	cfg := timed()
	cfg.PerUser = 2
	w := newWorld(t, cfg)
	port := 40000
	ask := func(d time.Duration, id string) *client {
		port++
		name, password := expiring(d, id)
		return w.client(fmt.Sprintf("198.51.100.4:%d", port), name, password)
	}
	first := ask(time.Hour, "dave")
	first.want(0, first.allocate())
	c := ask(2*time.Hour, "dave")
	c.want(0, c.allocate())
	c = ask(3*time.Hour, "dave")
	c.want(486, c.allocate())
	if e, ok := w.events[0].(logs.AllocationRejected); !ok || e.User != "dave" {
		t.Errorf("events %+v", w.events)
	}
	c = ask(3*time.Hour, "erin")
	c.want(0, c.allocate())
	for range 2 {
		c = ask(time.Hour, "")
		c.want(0, c.allocate())
	}
	c = ask(2*time.Hour, "")
	c.want(0, c.allocate())

	first.want(0, first.refresh(0))
	c = ask(4*time.Hour, "dave")
	c.want(0, c.allocate())
	if w.s.held["dave"] != 2 || w.s.held["erin"] != 1 {
		t.Errorf("held: %v", w.s.held)
	}
}

// Both sorts live together, and a name in Users is never read as an expiry.
func TestStaticNamesWin(t *testing.T) {
	cfg := timed()
	live, password := expiring(time.Hour, "frank")
	gone, _ := expiring(-time.Hour, "frank")
	cfg.Users[live], cfg.Users[gone], cfg.Users["42"] = "static", "static", "static"
	w := newWorld(t, cfg)
	for i, who := range []struct {
		name, password, account string
		code                    int
	}{
		{"alice", "wonder", "alice", 0},
		{live, "static", live, 0},
		{live, password, "", 401},
		{gone, "static", gone, 0},
		{"42", "static", "42", 0},
		{"42", timeLimitedPassword("north", "42"), "", 401},
	} {
		c := w.client(fmt.Sprintf("198.51.100.4:%d", 40000+i), who.name, who.password)
		c.want(who.code, c.allocate())
		if who.code == 0 && w.s.allocations[c.tuple].user != who.account {
			t.Errorf("%s is %q", who.name, w.s.allocations[c.tuple].user)
		}
	}
}

// Another secret ends no allocation; what its client asks for from then on
// needs a credential made with the new one.
func TestSharedSecretRotates(t *testing.T) {
	w := newWorld(t, timed())
	name, password := expiring(time.Hour, "grace")
	c := w.client(alicesAddress, name, password)
	c.want(0, c.allocate())
	cfg := timed()
	cfg.SharedSecret = "south"
	w.run(w.s.Reconfigure(w.now, cfg))
	if w.s.Len() != 1 || len(w.views) != 1 {
		t.Fatal("a new secret ended an allocation")
	}
	c.want(401, c.refresh(600))
	c.password = timeLimitedPassword("south", name)
	c.want(0, c.refresh(600))
}
