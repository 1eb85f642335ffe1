// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What strangers send costs nothing but their own connection: it is cut, memory
// stays, and those who ask properly are answered meanwhile.
func TestGarbageAndSlowClients(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "relay.sock")
	s := start(t, Options{
		Socket: socket, HTTP: "127.0.0.1:0", Status: func() any { return answer{7} },
		Live: func() []string { return nil }, Ready: func() []string { return nil },
	})
	for network, address := range map[string]string{"unix": socket, "tcp": s.HTTP().String()} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			dial := func() net.Conn {
				c, err := net.Dial(network, address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				return c
			}
			for range 20 {
				dial() // and say nothing
			}
			slow := dial()
			if _, err := io.WriteString(slow, "GET /livez HTTP/1.1\r\nHost: "); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct{ sent, want string }{
				{"\x00\xff\x80 garbage\r\n\r\n", " 400 "},
				{"POST /v1/status HTTP/1.1\r\nHost: relay\r\n\r\n", " 40"}, // 405, or 404 where there is no such path
				{"GET /../../etc/passwd HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n", ""},
				{"GET /livez HTTP/1.1\r\nHost: relay\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", " 431 "},
			} {
				conn := dial()
				_, _ = io.WriteString(conn, c.sent)
				if tcp, ok := conn.(interface{ CloseWrite() error }); ok {
					_ = tcp.CloseWrite()
				}
				got, _ := io.ReadAll(conn)
				if line, _, _ := bytes.Cut(got, []byte("\r\n")); !strings.Contains(string(line), c.want) || strings.Contains(string(got), "root:") {
					t.Errorf("%.40q was answered %q, want %q", c.sent, line, c.want)
				}
			}
			// A body without an end is not read into memory.
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			endless := dial()
			_, _ = io.WriteString(endless, "GET /livez HTTP/1.1\r\nHost: relay\r\nContent-Length: 1000000000000\r\n\r\n")
			chunk := make([]byte, 1<<20)
			for range 64 {
				if _, err := endless.Write(chunk); err != nil {
					break // it was cut
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if after.HeapAlloc > before.HeapAlloc+8<<20 {
				t.Errorf("heap %d → %d KiB", before.HeapAlloc>>10, after.HeapAlloc>>10)
			}
			// Whoever asks properly is answered while the slow one is still there.
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			var got answer
			if err := Ask(ctx, socket, &got); err != nil || got.Generation != 7 {
				t.Errorf("status %+v, %v", got, err)
			}
			if resp, err := http.Get("http://" + s.HTTP().String() + "/livez"); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("livez: %v %v", resp, err)
			} else {
				resp.Body.Close()
			}
			// And the slow one is cut in the end.
			if _, err := io.ReadAll(slow); err != nil {
				t.Errorf("the slow client was left: %v", err)
			}
		})
	}
}

// Connections beyond the bound are closed at once, and give no place away twice.
func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, Options{HTTP: "127.0.0.1:0", Live: func() []string { return nil }, Ready: func() []string { return nil }})
	held := make([]net.Conn, 0, maxConnections)
	for range maxConnections {
		c, err := net.Dial("tcp", s.HTTP().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	beyond, err := net.Dial("tcp", s.HTTP().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = beyond.SetDeadline(time.Now().Add(3 * time.Second)) // sooner than a slow client is cut
	if n, err := beyond.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a connection beyond the bound was kept: %v", err)
	}
	beyond.Close()
	for _, c := range held {
		c.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		resp, err := http.Get("http://" + s.HTTP().String() + "/livez")
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not served after the crowd has left: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
