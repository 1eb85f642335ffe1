// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"plumbline/logs/logstest"
)

// try runs a relay that can't start, and checks that nothing of it goes on: no
// goroutine, no lock, no socket. beside another relay, goroutines aren't counted.
func try(t *testing.T, beside bool, yaml func(r *running) string) error {
	t.Helper()
	dir := t.TempDir()
	r := &running{T: t, dir: dir, port: freePort(t), config: filepath.Join(dir, "relay.yaml"), console: &console{}}
	r.edit(yaml(r))
	before := runtime.NumGoroutine()
	ended := make(chan error, 1)
	go func() { ended <- Run(context.Background(), Options{ConfigFile: r.config, Console: r.console}) }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the start neither failed nor ended")
	}
	if err == nil {
		t.Fatal("the relay ended without an error")
	}
	deadline := time.Now().Add(10 * time.Second)
	for !beside && runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
	c, free := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", r.port))
	if free != nil {
		t.Errorf("the listen port is still taken: %v", free)
	} else {
		c.Close()
	}
	return err
}

func TestTakenAddressesEndTheStartCleanly(t *testing.T) {
	t.Run("admin.http", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var dir string
		err = try(t, false, func(r *running) string {
			dir = r.dir
			return strings.Replace(r.yaml(""), `http: ""`, fmt.Sprintf("http: %q", l.Addr()), 1)
		})
		if !strings.Contains(err.Error(), "admin.http") || !strings.Contains(err.Error(), l.Addr().String()) {
			t.Errorf("error %v", err)
		}
		logstest.CheckDir(t, filepath.Join(dir, "logs"))
	})
	t.Run("listen", func(t *testing.T) {
		c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		err = try(t, false, func(r *running) string {
			return strings.Replace(r.yaml(""), fmt.Sprintf("127.0.0.1:%d", r.port), c.LocalAddr().String(), 1)
		})
		if !strings.Contains(err.Error(), c.LocalAddr().String()) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("logs.dir", func(t *testing.T) {
		holder := begin(t)
		err := try(t, true, func(r *running) string { return strings.Replace(r.yaml(""), r.dir+"/logs", holder.dir+"/logs", 1) })
		if !strings.Contains(err.Error(), filepath.Join(holder.dir, "logs")) {
			t.Errorf("error %v", err)
		}
		if err := holder.stop(); err != nil {
			t.Fatal(err)
		}
		logstest.CheckDir(t, filepath.Join(holder.dir, "logs"))
	})
	t.Run("admin.socket", func(t *testing.T) {
		holder := begin(t)
		err := try(t, true, func(r *running) string {
			return strings.Replace(r.yaml(""), r.dir+"/relay.sock", holder.dir+"/relay.sock", 1)
		})
		if !strings.Contains(err.Error(), "admin.socket") {
			t.Errorf("error %v", err)
		}
		holder.status() // it still has its socket
	})
}
