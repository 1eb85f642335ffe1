// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type answer struct {
	Generation int `json:"generation"`
}

func start(t *testing.T, opt Options) *Server {
	t.Helper()
	if opt.Status == nil {
		opt.Status = func() any { return answer{7} }
	}
	s, err := Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestStatusOverSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "deep", "relay.sock")
	start(t, Options{Socket: socket})
	var got answer
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := Ask(ctx, socket, &got); err != nil || got.Generation != 7 {
		t.Fatalf("status %+v, error %v", got, err)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("socket mode %v, error %v: want 0660", info.Mode(), err)
	}
}

func TestSocketOfALivingRelayIsNotTaken(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "relay.sock")
	start(t, Options{Socket: socket})
	if _, err := Start(Options{Socket: socket, Status: func() any { return nil }}); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Fatalf("second server on the same socket: %v", err)
	}
}

func TestSocketOfADeadRelayIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "relay.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Socket: socket})
}

func TestHealthTellsReadyFromLive(t *testing.T) {
	s := start(t, Options{
		HTTP: "127.0.0.1:0",
		Live: func() []string { return nil },
		Ready: func() []string {
			return []string{"offload is required and not attached"}
		},
	})
	for path, want := range map[string]struct {
		code int
		ok   bool
	}{"/livez": {200, true}, "/readyz": {503, false}} {
		resp, err := http.Get("http://" + s.HTTP().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			OK      bool     `json:"ok"`
			Reasons []string `json:"reasons"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want.code || body.OK != want.ok || want.ok == (len(body.Reasons) > 0) {
			t.Errorf("%s: %d %+v, want %d ok=%t", path, resp.StatusCode, body, want.code, want.ok)
		}
	}
}

func TestHTTPAddressInUseNamesItself(t *testing.T) {
	s := start(t, Options{HTTP: "127.0.0.1:0", Live: func() []string { return nil }, Ready: func() []string { return nil }})
	_, err := Start(Options{HTTP: s.HTTP().String()})
	if err == nil || !strings.Contains(err.Error(), s.HTTP().String()) {
		t.Fatalf("want an error that names the address, got %v", err)
	}
}
