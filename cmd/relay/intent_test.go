// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func saying(event, instance string, generation int) string {
	return fmt.Sprintf(`{"time":"2026-11-24T03:22:12.120000000Z","severity":"INFO","message":"m","event":%q,"relay":%q,"run":"r","seq":1,"generation":%d,"digest":"d%d","intended":{"abi":1,"generation":%d,"enabled":true}}`+"\n",
		event, instance, generation, generation, generation)
}

// What was applied long ago stands in a rotated file that is compressed or
// gone; the checkpoint of the live one says it as well.
func TestIntentIsFoundAfterRotation(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  uint32
	}{
		"checkpoint alone":            {map[string]string{"relay.log": saying("checkpoint.started", "edge", 5)}, 5},
		"applied after checkpoint":    {map[string]string{"relay.log": saying("checkpoint.started", "edge", 5) + saying("config.applied", "edge", 6)}, 6},
		"checkpoint after applied":    {map[string]string{"relay.log": saying("config.applied", "edge", 6) + saying("checkpoint.started", "edge", 7)}, 7},
		"another's checkpoint":        {map[string]string{"relay.log": saying("checkpoint.started", "other", 5)}, 0},
		"nothing in force yet":        {map[string]string{"relay.log": saying("checkpoint.started", "edge", 0)}, 0},
		"behind something very long":  {map[string]string{"relay.log": saying("config.applied", "edge", 1) + strings.Repeat("\x00", 3<<20) + "\n" + saying("config.applied", "edge", 2)}, 2},
		"a half line at the end":      {map[string]string{"relay.log": saying("config.applied", "edge", 3) + saying("config.applied", "edge", 4)[:150]}, 3},
		"compressed with zstd":        {map[string]string{"relay-20261124T000000.000Z.log.zst": saying("config.applied", "edge", 8)}, 8},
		"compressed with gzip":        {map[string]string{"relay-20261124T000000.000Z.log.gz": saying("config.applied", "edge", 9)}, 9},
		"the newest file comes first": {map[string]string{"relay-20261124T000000.000Z.log.gz": saying("config.applied", "edge", 9), "relay-20261125T000000.000Z.log": saying("config.applied", "edge", 10)}, 10},
		"not compressed at all":       {map[string]string{"relay-20261125T000000.000Z.log.zst": "junk", "relay-20261125T000001.000Z.log.gz": "junk", "relay-20261124T000000.000Z.log": saying("config.applied", "edge", 11)}, 11},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				leave(t, filepath.Join(dir, file), text)
			}
			got, ok := newestApplied(dir, "edge")
			if ok != (c.want != 0) || got.Generation != c.want || got.Intended.Generation != c.want {
				t.Fatalf("found %t %+v, want generation %d", ok, got, c.want)
			}
		})
	}
}

// leave writes a file, compressed as its name says.
func leave(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text == "junk" {
		_, err = f.WriteString(text)
	} else if strings.HasSuffix(file, ".zst") {
		var w *zstd.Encoder
		if w, err = zstd.NewWriter(f); err == nil {
			_, err = w.Write([]byte(text))
			w.Close()
		}
	} else if strings.HasSuffix(file, ".gz") {
		w := gzip.NewWriter(f)
		_, err = w.Write([]byte(text))
		w.Close()
	} else {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An operator asks for the status because an edit went wrong: the relay goes on
// with what it has, and so does the answer.
func TestStatusWhileTheFileIsBad(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "relay.yaml"), filepath.Join(dir, "relay.sock")
	leave(t, file, fmt.Sprintf("relay: {name: %s}\noffload: {enabled: false}\nallocations: {ports: 60000-50000}\nlogs: {dir: %s}\nadmin: {socket: %s}\n",
		fmt.Sprintf("status-bad-%d", os.Getpid()), dir, socket))
	if got := command("status", "--config", file); got.code != 1 || !strings.Contains(got.err, file+":3:") {
		t.Fatalf("nothing answers: exit %d:\n%s%s", got.code, got.out, got.err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"run":"01RUN","pid":7,"generation":4,"digest":"0123456789abcdef","datapath":"userspace"}`)
	})}
	go server.Serve(listener)
	defer server.Close()
	got := command("status", "--config", file)
	if got.code != 0 || !strings.Contains(got.out, "generation 4") || !strings.Contains(got.err, file+":3:") {
		t.Fatalf("exit %d:\n%s%s", got.code, got.out, got.err)
	}
}
