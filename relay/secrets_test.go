// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumbline/relay/probe"
)

// secretFile is where a secret of this relay stands, and puts the text there in
// one step.
func (r *running) secretFile(name, text string) string {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.Fatal(err)
	}
	return path
}

// fromFiles is a config whose secrets are all in files.
func (r *running) fromFiles() string {
	auth := fmt.Sprintf("{users: [{name: alice, password_file: %s/alice}], shared_secret_file: %s/shared}", r.dir, r.dir)
	return strings.Replace(r.yaml(""), "{users: [{name: alice, password: wonderland}]}", auth, 1)
}

func beginFromFiles(t *testing.T) *running {
	t.Helper()
	return beginWith(t, func(r *running) string {
		r.secretFile("alice", "wonderland\n")
		r.secretFile("shared", "north\n")
		return r.fromFiles()
	})
}

// admits says whether the relay relays for these credentials.
func (r *running) admits(user, password string) bool {
	r.Helper()
	_, err := probe.Run(context.Background(), probe.Options{Server: fmt.Sprintf("127.0.0.1:%d", r.port), User: user, Password: password, Count: 1})
	return err == nil
}

func (r *running) mustAdmit(want bool, user, password string) {
	r.Helper()
	if r.admits(user, password) != want {
		r.Fatalf("%s with %s: admitted is %v; the console:\n%s", user, password, !want, r.console)
	}
}

// inForce waits for a generation, and for the core to work by it.
func (r *running) inForce(generation int) string {
	r.Helper()
	line := r.wait(`"event":"config.loaded"`, fmt.Sprintf(`"generation":%d,`, generation))
	r.wait(`"event":"config.applied"`, fmt.Sprintf(`"generation":%d,`, generation))
	r.status() // the core takes the new config just after the line is written
	return line
}

func timeLimited(secret string, life time.Duration) (user, password string) {
	user = fmt.Sprintf("%d:carol", time.Now().Add(life).Unix())
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(user))
	return user, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// noSecrets fails when the log or the console holds one of them.
func (r *running) noSecrets(secrets ...string) {
	r.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "logs", "relay.log"))
	if err != nil {
		r.Fatal(err)
	}
	for _, s := range secrets {
		if strings.Contains(string(data), s) || strings.Contains(r.console.String(), s) {
			r.Errorf("%q is in the log or on the console", s)
		}
	}
}

func TestSecretFilesRotateLive(t *testing.T) {
	t.Parallel()
	r := beginFromFiles(t)
	user, password := timeLimited("north", time.Hour)
	r.mustAdmit(true, "alice", "wonderland")
	r.mustAdmit(true, user, password)
	expired, itsPassword := timeLimited("north", -time.Second)
	r.mustAdmit(false, expired, itsPassword)
	r.wait(`"event":"allocation.created"`, `"user":"carol"`)
	r.wait(`"event":"auth.rejected"`, `"user":"carol"`, "expired")

	r.secretFile("alice", "looking-glass\n")
	line := r.inForce(2)
	if !strings.Contains(line, `"changes":[{"field":"auth.users.alice.password_file","from":"changed","to":"changed"}]`) || !strings.Contains(line, `"source":"watch"`) {
		t.Errorf("loaded as %s", line)
	}
	r.mustAdmit(true, "alice", "looking-glass")
	r.mustAdmit(false, "alice", "wonderland")
	r.mustAdmit(true, user, password)

	r.secretFile("shared", "south\n")
	line = r.inForce(3)
	if !strings.Contains(line, `"changes":[{"field":"auth.shared_secret_file","from":"changed","to":"changed"}]`) {
		t.Errorf("loaded as %s", line)
	}
	r.mustAdmit(false, user, password)
	user, password = timeLimited("south", time.Hour)
	r.mustAdmit(true, user, password)
	r.noSecrets("wonderland", "looking-glass", "north", "south", password)
}

// A bad secret file is refused at its key, keeps the old secret, and is news
// again once it is good.
func TestBadSecretFileKeepsTheOldSecret(t *testing.T) {
	t.Parallel()
	r := beginFromFiles(t)
	r.secretFile("alice", "two\nlines\n")
	line := r.wait(`"event":"config.rejected"`, "auth.users[].password_file", "control characters")
	if !strings.Contains(line, `"line":3`) || !strings.Contains(line, `"kept_generation":1`) {
		t.Errorf("rejected as %s", line)
	}
	r.mustAdmit(true, "alice", "wonderland")
	if err := os.Remove(filepath.Join(r.dir, "alice")); err != nil {
		t.Fatal(err)
	}
	r.wait(`"event":"config.rejected"`, "auth.users[].password_file", "no such file")
	r.mustAdmit(true, "alice", "wonderland")
	r.secretFile("alice", "looking-glass\n")
	r.inForce(2)
	r.mustAdmit(true, "alice", "looking-glass")

	// A file that a refused config names first is awaited too.
	r.edit(strings.Replace(r.fromFiles(), r.dir+"/shared", r.dir+"/later", 1))
	r.wait(`"event":"config.rejected"`, "auth.shared_secret_file", "no such file")
	r.secretFile("later", "east\n")
	r.inForce(3)
	user, password := timeLimited("east", time.Hour)
	r.mustAdmit(true, user, password)
	r.noSecrets("wonderland", "looking-glass", "lines", "east", password)
}

func TestMissingSecretFileStartsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &running{T: t, dir: dir, port: freePort(t), config: filepath.Join(dir, "relay.yaml"), console: &console{}}
	r.edit(r.fromFiles())
	err := Run(context.Background(), Options{ConfigFile: r.config, Console: r.console})
	if err == nil || !strings.Contains(err.Error(), r.config+":3:") || strings.Count(err.Error(), "no such file") != 2 {
		t.Fatalf("error %v", err)
	}
}
