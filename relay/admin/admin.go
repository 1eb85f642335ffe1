// SPDX-License-Identifier: Apache-2.0

// Package admin is how operators and orchestrators ask a running relay: status
// over a Unix socket, health over HTTP. It only asks; nothing here changes the
// relay, and a client that is slow or sends garbage costs nothing but its own
// connection.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options are the relay's answers and where to serve them. Socket and HTTP may
// be empty: not served.
type Options struct {
	Socket string // path of the Unix socket, made with mode 0660
	HTTP   string // host:port
	// Status is the document of GET /v1/status.
	Status func() any
	// Live says whether the relay's own goroutines answer; Ready also whether
	// it serves what the config asks for. Both give the reasons why not.
	Live, Ready func() []string
}

// Server is both endpoints while they run.
type Server struct {
	servers []*http.Server
	socket  string
	done    sync.WaitGroup
	http    net.Addr
}

// Start listens and serves. An error names the address and what to do.
func Start(opt Options) (*Server, error) {
	s := &Server{}
	if opt.Socket != "" {
		l, err := listenUnix(opt.Socket)
		if err != nil {
			return nil, err
		}
		s.socket = opt.Socket
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, opt.Status()) })
		s.serve(l, mux)
	}
	if opt.HTTP != "" {
		l, err := net.Listen("tcp", opt.HTTP)
		if err != nil {
			s.Stop()
			return nil, fmt.Errorf("admin.http: listening on %s: %w: choose another address, or \"\" to serve no health endpoint", opt.HTTP, err)
		}
		s.http = l.Addr()
		mux := http.NewServeMux()
		mux.HandleFunc("GET /livez", health(opt.Live))
		mux.HandleFunc("GET /readyz", health(opt.Ready))
		s.serve(l, mux)
	}
	return s, nil
}

func (s *Server) serve(l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, MaxHeaderBytes: 8 << 10,
		ErrorLog:    log.New(io.Discard, "", 0), // what strangers send is no news
		ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second,
	}
	s.servers = append(s.servers, srv)
	s.done.Go(func() { _ = srv.Serve(limit(l, maxConnections)) })
}

// HTTP is the address of the health endpoints, nil where they are not served.
func (s *Server) HTTP() net.Addr { return s.http }

// Stop ends both endpoints and removes the socket.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, srv := range s.servers {
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	}
	s.done.Wait()
	if s.socket != "" {
		_ = os.Remove(s.socket)
	}
}

// listenUnix makes the socket and its folder. A socket file that a dead relay
// left is replaced; one that a living relay answers on is not.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("admin.socket: making its folder: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("admin.socket: another process answers on %s: stop it, or set another admin.socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin.socket: removing the socket that a relay before left: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin.socket: listening on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("admin.socket: %w", err)
	}
	return l, nil
}

func health(reasons func() []string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		why := reasons()
		code := http.StatusOK
		if len(why) > 0 {
			code = http.StatusServiceUnavailable
		}
		write(w, code, struct {
			OK      bool     `json:"ok"`
			Reasons []string `json:"reasons"`
		}{len(why) == 0, append([]string{}, why...)})
	}
}

func write(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client went away: nothing to be done
}

// Ask gets the status document of the relay behind a socket into v.
func Ask(ctx context.Context, socket string, v any) error {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://relay/v1/status", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking the relay on %s: %w", socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the relay on %s: it answered %s", socket, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("reading the status from %s: %w", socket, err)
	}
	return nil
}
