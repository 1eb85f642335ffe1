// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pion/stun/v3"
)

// authenticate applies the long-term credential mechanism in the order of
// RFC 8489 §9.2.4. The nonce cookie is not announced, so that clients use
// MESSAGE-INTEGRITY and MD5 keys as with RFC 5389.
//
// Nothing is remembered of a request that fails, and an unknown user and an
// expired credential cost and get the same as a wrong password.
func (s *Server) authenticate(r *request) bool {
	m := r.msg
	realm := s.cfg.Realm
	if a := s.allocations[r.tuple]; a != nil {
		realm = a.realm
	}
	if !m.Contains(stun.AttrMessageIntegrity) {
		s.refuse(r, stun.CodeUnauthorized, stun.NewRealm(realm), s.newNonce(r))
		return false
	}
	user, userErr := m.Get(stun.AttrUsername)
	nonce, nonceErr := m.Get(stun.AttrNonce)
	r.user = string(user)
	if userErr != nil || nonceErr != nil || !m.Contains(stun.AttrRealm) {
		s.refuse(r, stun.CodeBadRequest)
		s.rejectAuth(r, stun.CodeBadRequest, "MESSAGE-INTEGRITY without USERNAME, REALM or NONCE")
		return false
	}
	// The key is made from our realm, whatever the request claims: another one
	// then fails like a wrong password and is answered with the right one.
	c := s.cfg.credential(r.user, r.now)
	key := stun.NewLongTermIntegrity(r.user, realm, c.password)
	matches := key.Check(m) == nil
	r.user = c.account // no more need of the name itself
	if !matches || !c.valid {
		reason := "unknown user or wrong password"
		if matches && c.expired { // told to the log, not to the client
			reason = "the time-limited credential has expired"
		}
		s.refuse(r, stun.CodeUnauthorized, stun.NewRealm(realm), s.newNonce(r))
		s.rejectAuth(r, stun.CodeUnauthorized, reason)
		return false
	}
	if !validNonce(&s.cfg, r.now, r.tuple.Client, nonce) {
		s.refuse(r, stun.CodeStaleNonce, stun.NewRealm(realm), s.newNonce(r))
		return false
	}
	r.key = key
	return true
}

// credential is what a user name stands for.
type credential struct {
	// account is whose allocations it makes: it is in quotas, in the log, and
	// says who owns an allocation.
	account  string
	password string // to check against, whether valid or not
	valid    bool   // this password is good now
	expired  bool   // it was good once
}

// credential finds what to check a request against. The same work is done for
// every name, known or not; the caller checks the password in any case, so that
// only the outcome of both decides.
func (c *Config) credential(name string, now time.Time) credential {
	account, expiry, timed := timeLimited(name)
	timed = timed && c.SharedSecret != ""
	found := credential{account: name, password: timeLimitedPassword(c.SharedSecret, name)}
	if timed {
		found.account = account
		found.valid = now.Unix() < expiry
		found.expired = !found.valid
	}
	if password, static := c.Users[name]; static { // static names win
		found = credential{account: name, password: password, valid: true}
	}
	return found
}

// timeLimited reads a user name that carries the Unix second in which it
// expires: EXPIRY:ID, or EXPIRY alone. Its account is the ID, or else the whole
// name. An ID goes into the log, so it must be text.
func timeLimited(name string) (account string, expiry int64, ok bool) {
	digits, id, _ := strings.Cut(name, ":")
	// 63 bits, and no sign: ParseUint takes neither + nor -.
	seconds, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return "", 0, false
	}
	if id == "" {
		return name, int64(seconds), true
	}
	return id, int64(seconds), true
}

// timeLimitedPassword is what whoever shares the secret gives to the holder of
// name: the HMAC-SHA1 of the name, in base64 with padding.
func timeLimitedPassword(secret, name string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(name))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// A nonce is the second in which it was made and a MAC over that and the
// client's transport address, in base64: nothing to remember, and different for
// every address, as RFC 8489 §9.2.4 demands. It never begins with the nonce
// cookie "obMatJos2": its first bytes are those of a time before the year 4000.
const (
	nonceTime = 8
	nonceMAC  = 13 // 104 bits; with the time, 28 characters without padding
)

var nonceEncoding = base64.RawURLEncoding

func (s *Server) newNonce(r *request) stun.Nonce {
	return makeNonce(&s.cfg.NonceKey, uint64(r.now.Unix()), r.tuple.Client)
}

func makeNonce(key *[32]byte, seconds uint64, client netip.AddrPort) stun.Nonce {
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, nonceTime+sha256.Size), seconds)
	mac := hmac.New(sha256.New, key[:])
	mac.Write(raw)
	ip := client.Addr().As16()
	mac.Write(ip[:])
	mac.Write(binary.BigEndian.AppendUint16(nil, client.Port()))
	raw = mac.Sum(raw)[:nonceTime+nonceMAC]
	return nonceEncoding.AppendEncode(nil, raw)
}

// validNonce accepts what makeNonce made for this client within the lifetime.
// A nonce from a future that a clock set back has left behind is stale.
func validNonce(cfg *Config, now time.Time, client netip.AddrPort, nonce []byte) bool {
	var raw [nonceTime + nonceMAC]byte
	if len(nonce) != nonceEncoding.EncodedLen(len(raw)) {
		return false
	}
	if _, err := nonceEncoding.Decode(raw[:], nonce); err != nil {
		return false
	}
	seconds := binary.BigEndian.Uint64(raw[:])
	if !hmac.Equal(nonce, makeNonce(&cfg.NonceKey, seconds, client)) {
		return false
	}
	age := now.Sub(time.Unix(int64(seconds), 0))
	return age >= 0 && age < cfg.NonceLifetime
}
