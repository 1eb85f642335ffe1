// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumbline/logs"
)

// whole is a file with every default but for the interface.
const whole = "offload: {interface: eth0}\n"

func parse(t *testing.T, file string) *Config {
	t.Helper()
	c, problems := Parse("relay.yaml", []byte(file))
	if c == nil {
		t.Fatalf("%s\n%v", file, problems)
	}
	return c
}

// samples gives each key another value than its default; fields are those of
// Config that it must set, and restart says whether it needs one.
var samples = map[string]struct {
	value   string
	fields  []string
	change  any // what the change is to, in a log line
	restart bool
}{
	"relay.name":                   {"other-name.example", []string{"Relay.Name"}, "other-name.example", true},
	"relay.realm":                  {"example.org", []string{"Relay.Realm"}, "example.org", false},
	"listen":                       {`["127.0.0.1:5000"]`, []string{"Listen"}, []string{"127.0.0.1:5000"}, true},
	"public.ipv4":                  {"203.0.113.7", []string{"Public.IPv4"}, "203.0.113.7", true},
	"public.ipv6":                  {`"2001:db8::7"`, []string{"Public.IPv6"}, "2001:db8::7", true},
	"allocations.ports":            {"50000-50999", []string{"Allocations.LowestPort", "Allocations.HighestPort"}, "50000-50999", false},
	"allocations.default_lifetime": {"20m", []string{"Allocations.DefaultLifetime"}, "20m", false},
	"allocations.max_lifetime":     {"1h30m", []string{"Allocations.MaxLifetime"}, "1h30m", false},
	"allocations.per_user":         {"3", []string{"Allocations.PerUser"}, 3, false},
	"allocations.total":            {"100", []string{"Allocations.Total"}, 100, false},
	"allocations.default_family":   {"keep", []string{"Allocations.DefaultFamily"}, "keep", false},
	"auth.users":                   {"[{name: alice, password: s3cret}]", []string{"Auth.Users"}, "present", false},
	"auth.shared_secret":           {"s3cret", []string{"Auth.SharedSecret"}, "changed", false},
	"auth.shared_secret_file":      {"testdata/secret", []string{"Auth.SharedSecret", "Auth.SharedSecretFile"}, "changed", false},
	"auth.nonce_lifetime":          {"1m", []string{"Auth.NonceLifetime"}, "1m", false},
	"peers.allow":                  {"[10.0.0.0/8]", []string{"Peers.Allow"}, []string{"10.0.0.0/8"}, false},
	"peers.deny":                   {`["2001:db8::/32"]`, []string{"Peers.Deny"}, []string{"2001:db8::/32"}, false},
	"offload.enabled":              {"false", []string{"Offload.Enabled"}, false, false},
	"offload.required":             {"true", []string{"Offload.Required"}, true, false},
	"offload.interface":            {"eth1", []string{"Offload.Interface"}, "eth1", true},
	"offload.mode":                 {"native", []string{"Offload.Mode"}, "native", true},
	"offload.udp_checksum":         {"false", []string{"Offload.UDPChecksum"}, false, false},
	"drain.alternate_server":       {"198.51.100.1:3478", []string{"Drain.AlternateServer"}, "198.51.100.1:3478", false},
	"drain.timeout":                {"30s", []string{"Drain.Timeout"}, "30s", false},
	"logs.dir":                     {"/tmp/logs/", []string{"Logs.Dir"}, "/tmp/logs", true},
	"logs.severity":                {"debug", []string{"Logs.Severity"}, "debug", false},
	"logs.console":                 {"false", []string{"Logs.Console"}, false, false},
	"logs.max_size":                {"16KiB", []string{"Logs.MaxSize"}, "16KiB", false},
	"logs.max_age":                 {"1h", []string{"Logs.MaxAge"}, "1h", false},
	"logs.keep":                    {"0", []string{"Logs.Keep"}, 0, false},
	"logs.compress":                {"zstd", []string{"Logs.Compress"}, "zstd", false},
	"logs.summary_interval":        {"250ms", []string{"Logs.SummaryInterval"}, "250ms", false},
	"admin.socket":                 {"/run/other.sock", []string{"Admin.Socket"}, "/run/other.sock", true},
	"admin.http":                   {`"[::1]:9000"`, []string{"Admin.HTTP"}, "[::1]:9000", true},
}

// fileWith is a valid file in which path has the given value.
func fileWith(path, value string) string {
	section, name, ok := strings.Cut(path, ".")
	switch {
	case !ok:
		return whole + path + ": " + value + "\n"
	case path == "offload.interface":
		return "offload: {interface: " + value + "}\n"
	case section == "offload":
		return "offload: {interface: eth0, " + name + ": " + value + "}\n"
	}
	return whole + section + ": {" + name + ": " + value + "}\n"
}

// TestEveryKeyActsOrIsRefused fails for a key that is read and forgotten, for a
// key that sets what it should not, and for one that nobody put into samples.
func TestEveryKeyActsOrIsRefused(t *testing.T) {
	t.Parallel()
	base := parse(t, whole)
	covered := map[string]bool{}
	for _, k := range keys {
		sample, ok := samples[k.path]
		if !ok {
			t.Errorf("%s has no sample", k.path)
			continue
		}
		for _, f := range sample.fields {
			covered[f] = true
		}
		if strings.HasPrefix(sample.value, "testdata/") {
			sample.value, _ = filepath.Abs(sample.value)
		}
		c, problems := Parse("relay.yaml", []byte(fileWith(k.path, sample.value)))
		if pending[k.path] != "" {
			if c != nil || len(problems) != 1 || !strings.HasPrefix(problems[0].Message, k.path+": ") || !strings.Contains(problems[0].Message, "leave it at") {
				t.Errorf("%s is pending: got %v, want one problem that names it", k.path, problems)
			}
			continue
		}
		if c == nil {
			t.Errorf("%s: %v", k.path, problems)
			continue
		}
		if got := differing(base, c); !slices.Equal(got, slices.Sorted(slices.Values(sample.fields))) {
			t.Errorf("%s set %v, want %v", k.path, got, sample.fields)
		}
		if c.Digest() == base.Digest() {
			t.Errorf("%s does not show in the digest", k.path)
		}
		changes := Diff(base, c)
		if len(changes) != 1 || !strings.HasPrefix(changes[0].Field, k.path) || !reflect.DeepEqual(changes[0].To, sample.change) {
			t.Errorf("%s: changes %+v, want one to %v", k.path, changes, sample.change)
		}
		want := []string(nil)
		if sample.restart {
			want = []string{k.path}
		}
		if got := RestartKeys(base, c); !slices.Equal(got, want) {
			t.Errorf("%s: restart for %v, want %v", k.path, got, want)
		}
	}
	for _, field := range leaves(reflect.TypeFor[Config](), "") {
		if !covered[field] {
			t.Errorf("no key sets Config.%s", field)
		}
	}
	for path := range pending {
		if lookup(path) == nil {
			t.Errorf("pending key %s is not a key", path)
		}
	}
}

// TestPendingAtDefault: a key that is not there yet may say so.
func TestPendingAtDefault(t *testing.T) {
	t.Parallel()
	parse(t, whole+`allocations: {default_family: ipv4}
auth: {users: [{name: a, password: b, password_file: ""}], shared_secret: "", shared_secret_file: ""}
drain: {alternate_server: "", timeout: 0}
`)
}

// leaves are the fields of Config that hold a value of the file.
func leaves(t reflect.Type, prefix string) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[netip.Addr]() {
			out = append(out, leaves(f.Type, prefix+f.Name+".")...)
			continue
		}
		out = append(out, prefix+f.Name)
	}
	return out
}

func differing(a, b *Config) []string {
	var out []string
	for _, path := range leaves(reflect.TypeFor[Config](), "") {
		va, vb := reflect.ValueOf(*a), reflect.ValueOf(*b)
		for _, name := range strings.Split(path, ".") {
			va, vb = va.FieldByName(name), vb.FieldByName(name)
		}
		if !reflect.DeepEqual(va.Interface(), vb.Interface()) {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

// TestCommentedConfig keeps configs/relay.yaml true: all keys, all defaults.
func TestCommentedConfig(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../configs/relay.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, string(data))
	if want := parse(t, whole); !reflect.DeepEqual(c, want) {
		t.Errorf("differs from the defaults in %v", differing(c, want))
	}
	for _, k := range keys {
		_, name, _ := strings.Cut("."+k.path, ".")
		name = name[strings.LastIndex(name, ".")+1:]
		if !bytes.Contains(data, []byte(name+":")) {
			t.Errorf("%s is not explained", k.path)
		}
	}
	if n := bytes.Count(data, []byte("[restart]")) - 1; n != 8 { // listen, public, … once each
		t.Errorf("%d marks of [restart]", n)
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	c := Default("/state", User{Name: "u", Password: "p"})
	want := &Config{
		Relay:       defaults().Relay,
		Listen:      []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:3478"), netip.MustParseAddrPort("[::1]:3478")},
		Allocations: defaults().Allocations,
		Auth:        Auth{Users: []User{{Name: "u", Password: "p"}}, NonceLifetime: 10 * time.Minute},
		Peers:       Peers{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, Deny: []netip.Prefix{}},
		Offload:     Offload{Mode: "auto", UDPChecksum: true},
		Logs:        defaults().Logs,
		Admin:       Admin{Socket: "/state/relay.sock", HTTP: "127.0.0.1:9464"},
	}
	want.Logs.Dir, want.Logs.MaxSize = "/state/logs", 10<<20
	if !reflect.DeepEqual(c, want) {
		t.Errorf("differs in %v", differing(c, want))
	}
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"edge-1": "edge-1", "edge-1.example.org": "edge-1.example.org", "büro pc": "b-ro-pc",
		"": "relay", "..": "relay", "../x": "x", "-a": "a", strings.Repeat("a", 300): strings.Repeat("a", 64), "ü": "relay",
		strings.Repeat("ü", 300): "relay", "localhost": "localhost",
	} {
		if got := sanitized(host); got != want {
			t.Errorf("%q becomes %q, want %q", host, got, want)
		}
	}
}

func TestDigestAndDiffOfUsers(t *testing.T) {
	t.Parallel()
	file := func(users string) *Config { return parse(t, whole+"auth: {users: ["+users+"]}\n") }
	a := file("{name: alice, password: one}, {name: bob, password: two}")
	for name, test := range map[string]struct {
		b      *Config
		same   bool // the digest
		change []logs.Change
	}{
		"the same":         {file("{name: alice, password: one}, {name: bob, password: two}"), true, []logs.Change{}},
		"another order":    {file("{name: bob, password: two}, {name: alice, password: one}"), true, []logs.Change{}},
		"another password": {file("{name: alice, password: six}, {name: bob, password: two}"), true, []logs.Change{{Field: "auth.users.alice.password", From: "changed", To: "changed"}}},
		"one more":         {file("{name: alice, password: one}, {name: bob, password: two}, {name: carol, password: x}"), false, []logs.Change{{Field: "auth.users.carol", From: "absent", To: "present"}}},
		"one less":         {file("{name: bob, password: two}"), false, []logs.Change{{Field: "auth.users.alice", From: "present", To: "absent"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Diff(a, test.b); !reflect.DeepEqual(got, test.change) {
				t.Errorf("changes %+v, want %+v", got, test.change)
			}
			if same := a.Digest() == test.b.Digest(); same != test.same {
				t.Errorf("same digest: %v, want %v", same, test.same)
			}
		})
	}
}

// TestDigestIsStable: the digest is in logs that are kept for years; it must
// not move with the program's insides.
func TestDigestIsStable(t *testing.T) {
	t.Parallel()
	const want = "b35d2f9142e37cc1b1bd49b4cc56ca0c3e09c593948893fdf29b5056699d8f78"
	if got := parse(t, whole+"relay: {name: edge-1}\n").Digest(); got != want {
		t.Errorf("digest %s, want %s: a new key changes it, nothing else may", got, want)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"16384": 16384, `"16384"`: 16384, "16384B": 16384, "16KiB": 16 << 10, "1MiB": 1 << 20, "1 MiB": 1 << 20, "2GiB": 2 << 30,
		"17KB": 17e3, "17kB": 17e3, "1MB": 1e6, "1GB": 1e9, "1024GiB": 1 << 40,
	} {
		if got := parse(t, fileWith("logs.max_size", text)).Logs.MaxSize; got != want {
			t.Errorf("%s is %d, want %d", text, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Minute: "10m", time.Hour: "1h", day: "24h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 250 * time.Millisecond: "250ms", 100 * time.Second: "1m40s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
	c := parse(t, "offload:\n  interface: 'eth0'\nlogs: {dir: \"/x\\u002fy\"}\nadmin: {socket: \"\", http: ''}\nrelay: {realm: 'a: b'}\n")
	if c.Logs.Dir != "/x/y" || c.Admin != (Admin{}) || c.Relay.Realm != "a: b" {
		t.Errorf("quotes: %+v %+v %+v", c.Logs, c.Admin, c.Relay)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for file, want := range map[string][]string{
		whole: {"auth.users is empty"},
		whole + "auth: {users: [{name: a, password: b}]}\npeers: {allow: ['::1/128', 0.0.0.0/0]}\nadmin: {http: '0.0.0.0:9464'}\n": {
			"peers.allow: ::1/128", "peers.allow: 0.0.0.0/0", "admin.http: 0.0.0.0:9464"},
	} {
		got := parse(t, file).Warnings()
		if len(got) != len(want) {
			t.Errorf("%v, want %v", got, want)
			continue
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check := func(path string) (string, int) {
		var b bytes.Buffer
		code := Check(&b, path)
		return b.String(), code
	}
	path := filepath.Join(dir, "relay.yaml")
	write := func(text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(whole+"auth: {users: [{name: a, password: b}]}\n", 0o600)
	c, _ := Load(path)
	if out, code := check(path); code != 0 || out != path+": ok, digest "+c.Digest()+"\n" {
		t.Errorf("%d: %s", code, out)
	}
	write(whole+"auth: {users: [{name: a, password: b}]}\n", 0o644)
	if out, code := check(path); code != 0 || !strings.HasPrefix(out, path+": warning: it holds passwords") {
		t.Errorf("%d: %s", code, out)
	}
	write("logs: {keep: x}\nrelay: {name: ''}\n", 0o600)
	if out, code := check(path); code != 1 || strings.Count(out, "\n") != 3 || !strings.Contains(out, path+":1:14: logs.keep") || !strings.HasPrefix(out, path+":1:1: offload.interface") {
		t.Errorf("%d: %s", code, out)
	}
	pipe := filepath.Join(dir, "pipe") // opening it must not wait for a writer
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{dir, filepath.Join(dir, "missing"), "/dev/null", pipe, ""} {
		if out, code := check(bad); code != 1 || !strings.HasPrefix(out, bad+":1:1: read config "+bad) || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: %d: %s", bad, code, out)
		}
	}
}
