// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"plumbline/relay"
	"plumbline/relay/datapath"
)

// startRelay runs a relay in this process and returns its address.
func startRelay(t *testing.T, allow string) string {
	t.Helper()
	address := freeAddress(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "relay.yaml")
	text := fmt.Sprintf(`relay: {name: test}
listen: ["%s"]
auth: {users: [{name: alice, password: wonderland}]}
peers: {allow: [%s/32]}
offload: {enabled: false}
logs: {dir: %s/logs}
admin: {socket: %s/relay.sock, http: ""}
`, address, allow, dir, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- relay.Run(ctx, relay.Options{ConfigFile: file, Console: t.Output(), Started: func() { close(started) }})
	}()
	select {
	case <-started:
	case err := <-ended:
		t.Fatalf("the relay did not start: %v", err)
	}
	t.Cleanup(func() { cancel(); <-ended })
	return address
}

// freeAddress is outside both the relayed ports and the ephemeral ones.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		if c, err := net.ListenPacket("udp4", address); err == nil {
			c.Close()
			return address
		}
	}
	t.Fatal("no free port in 20000-31999")
	return ""
}

// A proxy stands between clients and a relay, and does to datagrams what a fault
// says.
type proxy struct {
	// fault returns what goes on in place of b, from or to the client numbered
	// from 0 in order of appearance.
	fault func(client int, up bool, b []byte) [][]byte

	listen *net.UDPConn
	mu     sync.Mutex
	links  map[string]int
	ups    []*net.UDPConn
}

func startProxy(t *testing.T, server string, fault func(p *proxy, client int, up bool, b []byte) [][]byte) (string, *proxy) {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp4", server)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{links: map[string]int{}}
	p.fault = func(client int, up bool, b []byte) [][]byte { return fault(p, client, up, b) }
	if p.listen, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	_ = datapath.SetReadBuffer(p.listen, 4<<20)
	var wait sync.WaitGroup
	wait.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := p.listen.ReadFromUDP(b)
			if err != nil {
				return
			}
			p.mu.Lock()
			client, known := p.links[from.String()]
			if !known {
				up, err := net.DialUDP("udp4", nil, to)
				if err != nil {
					p.mu.Unlock()
					t.Error(err)
					return
				}
				_ = datapath.SetReadBuffer(up, 4<<20)
				client = len(p.ups)
				p.links[from.String()] = client
				p.ups = append(p.ups, up)
				wait.Go(func() {
					b := make([]byte, 1<<16)
					for {
						n, err := up.Read(b)
						if err != nil {
							return
						}
						for _, out := range p.fault(client, false, b[:n]) {
							_, _ = p.listen.WriteToUDP(out, from)
						}
					}
				})
			}
			up := p.ups[client]
			p.mu.Unlock()
			for _, out := range p.fault(client, true, b[:n]) {
				_, _ = up.Write(out)
			}
		}
	})
	t.Cleanup(func() {
		p.listen.Close()
		p.mu.Lock()
		for _, up := range p.ups {
			up.Close()
		}
		p.mu.Unlock()
		wait.Wait()
	})
	return p.listen.LocalAddr().String(), p
}
