// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// offloadOff makes any other text a whole file: the interface has no default.
const offloadOff = "offload: {enabled: false}\n"

// TestProblems holds for each bad file exactly what is said, and where.
func TestProblems(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100_000)
	for name, test := range map[string]struct {
		file string
		want []string // LINE:COL: message, or its beginning if it ends in …
	}{
		"empty":         {"", []string{"1:1: the file is empty: to run on defaults, name at least offload.interface, or set offload.enabled to false"}},
		"only comments": {"# nothing\n\n", []string{"1:1: the file is empty…"}},
		"only a header": {"---\n", []string{"1:1: the file is empty…"}},
		"no interface":  {"relay: {name: a}\n", []string{"1:1: offload.interface: name the network interface whose packets the kernel shall relay (ip link lists them), or set offload.enabled to false"}},
		"empty interface": {"offload:\n  interface: \"\"\n", []string{
			"2:14: offload.interface: name the network interface…"}},
		"required without enabled": {"offload:\n  enabled: false\n  required: true\n", []string{
			"3:13: offload.required: it can't be required while offload.enabled is false"}},

		"unknown keys": {offloadOff + "realy: {}\nlogs:\n  dri: /x\n  Max-Size: 1MiB\n  colour: red\nports: 1-2\n", []string{
			`2:1: unknown key "realy"; did you mean relay?`,
			`4:3: unknown key "dri" in logs; did you mean dir?`,
			`5:3: unknown key "Max-Size" in logs; did you mean max_size?`,
			`6:3: unknown key "colour" in logs`,
			`7:1: unknown key "ports"; did you mean allocations.ports?`}},
		"section in a section": {offloadOff + "relay: {logs: {dir: /x}}\n", []string{
			`2:9: unknown key "logs" in relay; did you mean logs at the top level?`}},
		"duplicate keys": {offloadOff + "relay: {name: a, realm: x,\n  name: b}\nrelay: {}\n", []string{
			`3:3: "relay.name" stands here twice, first in line 2: remove one of them`,
			`4:1: "relay" stands here twice, first in line 2: remove one of them`}},

		"wrong types": {`relay: {name: 1, realm: true}
listen: 0.0.0.0:3478
public: [1.2.3.4]
allocations: {per_user: "10", total: 1.5, ports: {}, max_lifetime: true}
auth: {users: {name: a}, nonce_lifetime: []}
peers: {allow: , deny: [1, {}]}
offload: {enabled: yes, required: 0}
logs: 5
admin: {socket: ~}
`, []string{
			"1:15: relay.name: want text, found a number: put it in quotes",
			"1:25: relay.realm: want text, found true or false: put it in quotes",
			"2:9: listen: want a list such as [A, B], found text",
			"3:9: public: want keys and values, found a list",
			"4:25: allocations.per_user: want a whole number, found text",
			"4:38: allocations.total: want a whole number",
			"4:50: allocations.ports: want one value, found keys and values",
			"4:68: allocations.max_lifetime: want a value, found true or false",
			"5:15: auth.users: want a list such as [A, B], found keys and values",
			"5:42: auth.nonce_lifetime: want one value, found a list",
			"6:15: peers.allow: no value: write [] for an empty list, or leave the key out for its default",
			"6:25: peers.deny: want text, found a number: put it in quotes",
			"6:28: peers.deny: want one value, found keys and values",
			"7:20: offload.enabled: want true or false, found text",
			"7:35: offload.required: want true or false, found a number",
			"8:7: logs: want keys and values, found a number",
			"9:17: admin.socket: no value: give one, or leave the key out for its default"}},
		"no mapping at all": {"hello\n", []string{"1:1: want keys and values, found text"}},
		"a list":            {"- a\n", []string{"1:1: want keys and values, found a list"}},
		"number as key":     {offloadOff + "1: 2\n", []string{"2:1: want the name of a key here, found a number"}},

		"names": {offloadOff + "relay:\n  name: ../etc\n  realm: 'say \"hi\"'\n", []string{
			"3:9: relay.name: want 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit",
			"4:10: relay.realm: quotes, backslashes and control characters are not allowed in a realm"}},
		"listen": {offloadOff + `listen:
  - ":3478"
  - localhost:3478
  - 1.2.3.4:0
  - "[fe80::1%eth0]:3478"
  - "[::ffff:1.2.3.4]:3478"
  - 224.0.0.1:3478
  - 1.2.3.4:99999
`, []string{
			`3:5: listen: want IP:PORT, got ":3478": write 0.0.0.0:3478 and [::]:3478`,
			`4:5: listen: want IP:PORT such as 0.0.0.0:3478 or [::]:3478, got "localhost:3478"`,
			`5:5: listen: want a port from 1 to 65535, got "1.2.3.4:0"`,
			`6:5: listen: addresses with a zone (%eth0) are not supported: use a global address or [::]`,
			`7:5: listen: write the IPv4 address itself: 1.2.3.4:3478`,
			`8:5: listen: want a unicast address, got "224.0.0.1:3478"`,
			`9:5: listen: want IP:PORT such as 0.0.0.0:3478 or [::]:3478, got "1.2.3.4:99999"`}},
		"listens that collide": {offloadOff + `listen: ["0.0.0.0:3478", "1.2.3.4:3478", "[::]:3478", "[::1]:3478", "0.0.0.0:3478", "1.2.3.4:5000", "1.2.3.4:50000"]` + "\n", []string{
			"2:26: listen: 1.2.3.4:3478 is covered by 0.0.0.0:3478: remove one of them",
			"2:55: listen: [::1]:3478 is covered by [::]:3478: remove one of them",
			"2:69: listen: 0.0.0.0:3478 stands here twice, first in line 2",
			"2:101: listen: port 50000 lies within allocations.ports 49152-65535: an allocation could take it"}},
		"listen without IPv4": {offloadOff + "listen: [\"[::]:3478\"]\n", []string{
			"2:9: listen: want at least one IPv4 address: relayed addresses are IPv4"}},
		"no listens":       {offloadOff + "listen: []\n", []string{"2:9: listen: want 1 to 8 entries, got 0"}},
		"too many listens": {offloadOff + "listen: [" + strings.TrimSuffix(strings.Repeat("a, ", 9), ", ") + "]\n", []string{"2:9: listen: want 1 to 8 entries, got 9"}},
		"ports over the default listen": {offloadOff + "allocations:\n  ports: 3000-4000\n", []string{
			"3:10: listen: port 3478 lies within allocations.ports 3000-4000: an allocation could take it",
			"3:10: listen: port 3478 lies within allocations.ports 3000-4000: an allocation could take it"}},
		"public": {offloadOff + "public: {ipv4: 2001:db8::1, ipv6: 1.2.3.4}\n", []string{
			`2:16: public.ipv4: want an IPv4 address such as 203.0.113.7, got "2001:db8::1"`,
			`2:35: public.ipv6: want an IPv6 address such as 2001:db8::7, got "1.2.3.4"`}},
		"public not unicast": {offloadOff + "public: {ipv4: 255.255.255.255, ipv6: 'fe80::1%eth0'}\n", []string{
			`2:16: public.ipv4: want a unicast address, got "255.255.255.255"`,
			`2:39: public.ipv6: want a unicast address that peers can reach, got "fe80::1%eth0"`}},

		"port ranges": {offloadOff + "allocations: {ports: 60000-50000}\n", []string{
			"2:22: allocations.ports: the lowest port 60000 is above the highest 50000"}},
		"low ports":    {offloadOff + "allocations: {ports: 1023-2000}\n", []string{"2:22: allocations.ports: want ports from 1024 to 65535, got 1023"}},
		"zero ports":   {offloadOff + "allocations: {ports: 0-0}\n", []string{"2:22: allocations.ports: want ports from 1024 to 65535, got 0"}},
		"one port":     {offloadOff + "allocations: {ports: 50000}\n", []string{`2:22: allocations.ports: want LOWEST-HIGHEST such as 49152-65535, got "50000"`}},
		"ports beyond": {offloadOff + "allocations: {ports: 50000-65536}\n", []string{`2:22: allocations.ports: want LOWEST-HIGHEST such as 49152-65535, got "50000-65536"`}},
		"lifetimes": {offloadOff + "allocations: {default_lifetime: 2h, max_lifetime: 1500ms}\n", []string{
			"2:51: allocations.max_lifetime: want a multiple of 1s, got 1500ms"}},
		"lifetimes in disorder": {offloadOff + "allocations: {default_lifetime: 2h}\n", []string{
			"2:33: allocations.default_lifetime: 2h is longer than allocations.max_lifetime 1h"}},
		"durations": {offloadOff + "allocations: {default_lifetime: 600, max_lifetime: 25h}\nlogs: {summary_interval: -1s}\n", []string{
			`2:33: allocations.default_lifetime: want a duration with its unit, such as 500ms, 10s, 10m or 24h, got "600"`,
			"2:52: allocations.max_lifetime: want 1s to 24h, got 25h",
			"3:26: logs.summary_interval: want 100ms to 1h, got -1s"}},
		"counts": {offloadOff + "allocations: {per_user: 010, total: 0x10}\nlogs: {keep: -1}\n", []string{
			"2:25: allocations.per_user: want a whole decimal number from 0 to 1000000, got 010",
			"2:37: allocations.total: want a whole decimal number from 0 to 1000000, got 0x10",
			"3:14: logs.keep: want 0 to 100000, got -1"}},
		"quota over total": {offloadOff + "allocations: {per_user: 10, total: 9}\n", []string{
			"2:25: allocations.per_user: 10 is more than allocations.total 9"}},
		"sizes": {offloadOff + "logs: {max_size: 16383}\n", []string{"2:18: logs.max_size: want 16KiB to 1024GiB, got 16383"}},
		"size without sense": {offloadOff + "logs: {max_size: 1.5GiB}\n", []string{
			`2:18: logs.max_size: want a whole number of bytes, KiB, MiB, GiB, KB, MB or GB, such as 100MiB, got "1.5GiB"`}},
		"size overflow": {offloadOff + "logs: {max_size: 9223372036854775807GiB}\n", []string{"2:18: logs.max_size: want 16KiB to 1024GiB, got 9223372036854775807GiB"}},
		"peers": {offloadOff + "peers:\n  allow: [10.0.0.0/8, 10.1.0.0/8, 1.2.3.4, '::1', foo, '::ffff:10.0.0.0/104']\n  deny: [10.0.0.0/8,\n    10.0.0.0/8]\n", []string{
			"3:11: peers.allow: 10.0.0.0/8 stands in peers.deny too, in line 4: remove one of them",
			"3:23: peers.allow: 10.1.0.0/8 has bits set beyond its length: did you mean 10.0.0.0/8?",
			"3:35: peers.allow: want a CIDR: write 1.2.3.4/32 for one address",
			"3:44: peers.allow: want a CIDR: write ::1/128 for one address",
			`3:51: peers.allow: want a CIDR such as 10.0.0.0/8 or fd00::/8, got "foo"`,
			`3:56: peers.allow: write the IPv4 prefix itself instead of "::ffff:10.0.0.0/104"`,
			"5:5: peers.deny: 10.0.0.0/8 stands here twice, first in line 4"}},
		"words": {"offload: {mode: fast, interface: 'eth0:1'}\nlogs: {severity: WARN, dir: logs}\nadmin: {socket: relay.sock, http: ':9464'}\n", []string{
			`1:17: offload.mode: want auto, native, generic, got "fast"`,
			`1:34: offload.interface: want the name of a network interface (at most 15 bytes, no slash, colon or space), got "eth0:1"`,
			`2:18: logs.severity: want debug, info, warn, error, got "WARN"`,
			`2:29: logs.dir: want an absolute path such as /var/log/plumbline, got "logs"`,
			`3:17: admin.socket: want an absolute path such as /run/plumbline/relay.sock, or "" for none, got "relay.sock"`,
			`3:35: admin.http: want IP:PORT such as 127.0.0.1:9464, or "" for none, got ":9464"`}},
		"long socket": {offloadOff + "admin: {socket: /" + strings.Repeat("a", 107) + "}\n", []string{
			"2:17: admin.socket: a socket's path has at most 107 bytes, this one has 108"}},

		"users": {offloadOff + `auth:
  users:
    - {name: alice, password: s3cret}
    - name: alice
      password: other
    - {name: "a:b", pasword: s3cret}
    - {name: bob, hunter2}
    - {password: ""}
    - carol
    - {name: 7, password: 8}
`, []string{
			`5:7: auth.users: user "alice" stands here twice, first in line 4`,
			"7:7: auth.users[]: password is missing",
			"7:14: auth.users[].name: a user name must not contain a colon, which parts it from the realm in the long-term key",
			"7:21: unknown key in auth.users[]; did you mean password?",
			"8:7: auth.users[]: password is missing",
			"8:19: unknown key in auth.users[]",
			"9:7: auth.users[]: name is missing",
			"9:18: auth.users[].password: want a password, it is empty",
			"10:7: auth.users[]: want keys and values, found text",
			"11:14: auth.users[].name: want text, found a number: put it in quotes",
			"11:27: auth.users[].password: want text, found a number: put it in quotes"}},

		"anchors and aliases": {"offload: &o {enabled: false}\nrelay: *o\nlogs:\n  <<: *o\npeers: !!map {}\n%YAML 1.2\n", []string{
			"1:10: anchors (&) are not supported: write the value where it is used, or put it in quotes if it begins with &",
			"2:8: aliases (*) are not supported: write the value where it is used, or put it in quotes if it begins with *",
			"4:3: merge keys (<<) are not supported: write the keys where they are used",
			"5:8: tags (!) are not supported: leave the tag out, or put the value in quotes if it begins with !",
			"6:1: directives (%) are not supported: leave the line out"}},
		"anchors beside other problems": {"offload: &o {enabled: false}\nrelay: {name: 1}\n", []string{
			"1:10: anchors…", "2:15: relay.name: want text…"}},
		"complex key":      {offloadOff + "? a\n: b\n", []string{"2:1: complex keys (?) are not supported: write KEY: VALUE"}},
		"second document":  {offloadOff + "---\nrelay: {name: a}\n", []string{"2:1: a second document begins here: a config is one document, remove one of them"}},
		"syntax":           {"relay:\n\tname: a\n", []string{"2:1: not valid YAML: found character '\t' that cannot start any token"}},
		"unclosed":         {offloadOff + "peers: [1,\n", []string{"2:8: not valid YAML: …"}},
		"unclosed quote":   {offloadOff + "relay: {name: \"a}\n", []string{"2:15: not valid YAML: could not find end character of double-quoted text"}},
		"wrong indent":     {"relay:\n  name: a\n    realm: b\n", []string{"2:9: not valid YAML: mapping value is not allowed in this context"}},
		"deep brackets":    {deep, []string{"1:17: nested deeper than 16 levels"}},
		"deep braces":      {"a: " + strings.Repeat("{a: ", 100_000), []string{"1:68: nested deeper than 16 levels"}},
		"deep entries":     {strings.Repeat("- ", 100_000), []string{"1:33: nested deeper than 16 levels"}},
		"many anchors":     {strings.Repeat("a: &a b\n", 100_000), slices.Repeat([]string{"…"}, maxRefused+1)},
		"alias bomb":       {"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", []string{"1:1: offload.interface…", "1:4: anchors…", "2:4: anchors…", "3:5: aliases…"}},
		"not UTF-8":        {"relay: {name: a}\n# caf\xe9\n", []string{"2:6: byte 0xe9 is not UTF-8: save the file as UTF-8 text"}},
		"binary":           {"\x7fELF\x02\x01\x01\x00", []string{"1:1: control character 0x7f: is this a text file?"}},
		"lone return":      {"relay: {}\rlogs: {}\r", []string{"1:10: control character 0x0d: is this a text file?"}},
		"too large":        {strings.Repeat("#", MaxSize+1), []string{"1:1: the file is larger than 1048576 bytes: is it a config?"}},
		"accents before":   {"relay: {realm: \"élan\", name: é}\n" + offloadOff, []string{"1:30: relay.name: want 1 to 64…"}},
		"windows and BOM":  {"\ufeffoffload: {enabled: false}\r\nrelay:\r\n  name: \"-\"\r\n", []string{"3:9: relay.name: want 1 to 64…"}},
		"many problems":    {offloadOff + strings.Repeat("x: 1\n", 1000), append(slices.Repeat([]string{"…"}, maxProblems), "202:1: 800 more problems from here on")},
		"several sections": {"relay: {name: ''}\n" + offloadOff + "logs: {keep: x}\n", []string{"1:15: relay.name…", "3:14: logs.keep: want a whole number, found text"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			c, problems := Parse("relay.yaml", []byte(test.file))
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			if c != nil {
				t.Error("a config came with it")
			}
			compare(t, problems, test.want)
		})
	}
}

func compare(t *testing.T, problems []Problem, want []string) {
	t.Helper()
	for i := range max(len(problems), len(want)) {
		switch {
		case i >= len(want):
			t.Errorf("too much:  %s", problems[i])
		case i >= len(problems):
			t.Errorf("missing:   %s", want[i])
		default:
			got := problems[i].String()
			begin, whole := strings.CutSuffix("relay.yaml:"+want[i], "…")
			if want[i] == "…" {
				begin = "relay.yaml:"
			}
			if got != begin && !(whole && strings.HasPrefix(got, begin)) {
				t.Errorf("got   %s\nwant  relay.yaml:%s", got, want[i])
			}
		}
	}
}

// TestSecretsStayOut puts a secret wherever a slip of the pen can.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"auth: {users: [{name: a, password s3cret}]}",
		"auth: {users: [{name: a, s3cret}]}",
		"auth: {users: [{name: a, s3cret, s3cret}]}",
		"auth: {users: [{name: a, s3cret: password}]}",
		"auth: {users: [{name: a, password: [s3cret]}]}",
		"auth: {users: [{name: a, password: {s3cret: s3cret}}]}",
		"auth: {users: [{name: a, password: \"s3cret\\u0001\"}]}",
		"auth: {users: [{name: a, password: \"s3cret}]}",
		"auth: {users: [{name: a, password: &s3cret}]}",
		"auth: {users: [{name: a, password: *s3cret}]}",
		"auth: {users: [{name: a, password: !s3cret}]}",
		"auth: {users: [{name: a, password: s3cret: s3cret}]}",
		"auth: {users: [{name: \"a:s3cret\", password: s3cret}]}",
		"auth: {users: [s3cret]}",
		"auth: {users: s3cret}",
		"auth: {s3cret: s3cret}",
		"auth: {s3cret, s3cret}",
		"auth: s3cret",
		"auth:\n  users:\n    - name: a\n      password: s3cret\n     s3cret: x\n",
		"auth:\n  users:\n    - name: a\n      password s3cret\n",
		"auth: {shared_secret: s3cret, shared_secret_file: s3cret}",
		"auth: {shared_secret: [s3cret]}",
		"auth: {users: [{name: a, password: s3cret, password_file: s3cret}]}",
		"auth: {users: [{name: a, password: s3cret, password_file: /s3cret}]}",
		"auth: {users: [{name: a, password_file: s3cret}]}",
		"auth: {users: [{name: a, password_file: /s3cret}]}",
		"auth: {users: [{name: a, password_file: /dev/null/s3cret}]}",
		"auth: {users: [{name: a, password_file: \"/s3cret\\u0001\"}]}",
		"auth: {users: [{name: a, password_file: [s3cret]}]}",
		"auth: {shared_secret_file: s3cret}",
		"auth: {shared_secret_file: /s3cret}",
		"auth: {shared_secret_file: /s3cret, shared_secret: s3cret}",
		"auth: {shared_secret: \"s3cret\\u0001\"}",
	} {
		_, problems := Parse("relay.yaml", []byte(offloadOff+file))
		if len(problems) == 0 {
			t.Errorf("%s: no problem", file)
		}
		for _, p := range problems {
			if strings.Contains(p.String(), "s3cret") {
				t.Errorf("%s: %s", file, p)
			}
		}
	}
}

func TestEmptySectionsMeanDefaults(t *testing.T) {
	t.Parallel()
	c, problems := Parse("", []byte("relay:\nauth:\n  # users: []\npeers:\n"+offloadOff))
	if problems != nil {
		t.Fatal(problems)
	}
	want := defaults()
	want.Offload.Enabled = false
	if c.Digest() != want.Digest() {
		t.Errorf("differs from the defaults: %v", Diff(want, c))
	}
}

// TestNeverPanics: a Config or problems, each within the file, and in time.
func TestNeverPanics(t *testing.T) {
	t.Parallel()
	commented, err := os.ReadFile("../../configs/relay.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pieces := []string{"relay", "auth", "users", "name", "password", "_file", "/s", "shared_secret", ": ", ":", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "'", "\"", "#", "&a", "*a", "!!str ", "? ", "|", ">-", "%", "---\n", "...\n", "<<", "~", "1", "é", "\t", "\x00", "\\", "@", "`"}
	rapid.Check(t, func(t *rapid.T) {
		var data []byte
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			data = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		case 1:
			data = []byte(strings.Join(rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(t, "pieces"), ""))
		default: // the commented config with a part cut out and something put in
			i := rapid.IntRange(0, len(commented)).Draw(t, "from")
			j := rapid.IntRange(i, min(i+40, len(commented))).Draw(t, "to")
			in := rapid.SampledFrom(pieces).Draw(t, "in")
			data = slices.Concat(commented[:i], []byte(in), commented[j:])
		}
		sound(t, data)
	})
}

func FuzzParse(f *testing.F) {
	commented, err := os.ReadFile("../../configs/relay.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(commented)
	f.Add(defaultFile)
	f.Add([]byte("a: &a [*a, {b: |\n c}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) { sound(t, data) })
}

// sound checks what holds for every file.
func sound(t interface {
	Fatalf(string, ...any)
	Errorf(string, ...any)
}, data []byte) {
	// Secret files are made up: what is parsed must not name some of this machine.
	secret := func(path string) ([]byte, error) {
		if len(path)%3 == 0 {
			return nil, errors.New("not there")
		}
		return []byte(path + "\n"), nil
	}
	c, problems := ParseWith("f", data, secret)
	if files := SecretFiles(data); c != nil && !slices.Equal(files, c.SecretFiles()) {
		t.Errorf("secret files %q, those of the config are %q", files, c.SecretFiles())
	}
	if (c == nil) == (len(problems) == 0) {
		t.Fatalf("config %v and problems %v", c, problems)
	}
	lines := strings.Count(string(data), "\n") + 1
	for i, p := range problems {
		if p.Line < 0 || p.Line > lines+1 || p.Column < 0 || p.Message == "" || strings.Contains(p.Message, "\n") {
			t.Errorf("problem %+v of a file of %d lines", p, lines)
		}
		if i > 0 && problems[i-1].Line > p.Line {
			t.Errorf("%v stands before %v", problems[i-1], p)
		}
	}
	if c != nil {
		if again, _ := ParseWith("f", data, secret); again.Digest() != c.Digest() || len(Diff(c, again)) != 0 {
			t.Errorf("two readings differ")
		}
	}
}

func TestLargestFileInTime(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{
		"users":    "    - {name: u%d, password: x}\n",
		"comments": "    # %d\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			b.WriteString(offloadOff + "auth:\n  users:\n    - {name: a, password: x}\n")
			for i := 0; i < maxUsers-1 && b.Len() < MaxSize-100; i++ {
				fmt.Fprintf(&b, part, i)
			}
			began := time.Now()
			if c, problems := Parse("f", []byte(b.String())); c == nil {
				t.Fatal(problems[0])
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}
