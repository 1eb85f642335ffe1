// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"strings"
	"testing"

	"plumbline/logs"
)

func TestValidateLineRefuses(t *testing.T) {
	t.Parallel()
	const good = `{"time":"2026-11-24T03:22:12.120000000Z","severity":"INFO","message":"a-1 channel 0x4000 bound to 192.0.2.9:9000","event":"channel.bound","relay":"edge-1","run":"01JD","seq":7,"allocation":"a-1","channel":"0x4000","peer":"192.0.2.9:9000","expires":"2026-11-24T03:32:12.120000000Z"}`
	for _, ok := range []string{good, good + "\n", strings.Replace(good, `"expires"`, `"newer":[1],"expires"`, 1)} {
		if err := logs.ValidateLine([]byte(ok)); err != nil {
			t.Errorf("%v: %s", err, ok)
		}
	}
	for why, change := range map[string][2]string{
		"trimmed time":         {".120000000Z\",\"sev", ".12Z\",\"sev"},
		"time with offset":     {".120000000Z\",\"sev", ".120000000+01:00\",\"sev"},
		"unknown severity":     {"INFO", "NOTICE"},
		"empty message":        {"a-1 channel 0x4000 bound to 192.0.2.9:9000", ""},
		"blank message":        {"a-1 channel 0x4000 bound to 192.0.2.9:9000", "  "},
		"null message":         {`"a-1 channel 0x4000 bound to 192.0.2.9:9000"`, "null"},
		"message of two lines": {"a-1 channel", `a-1\nchannel`},
		"escape sequence":      {"a-1 channel", `\u001b[2Jchannel`},
		"unknown event":        {"channel.bound", "channel.bond"},
		"seq zero":             {`"seq":7`, `"seq":0`},
		"seq as string":        {`"seq":7`, `"seq":"7"`},
		"order of keys":        {`"relay":"edge-1","run":"01JD"`, `"run":"01JD","relay":"edge-1"`},
		"own field too early":  {`"seq":7,"allocation":"a-1"`, `"allocation":"a-1","seq":7`},
		"a key twice":          {`"seq":7`, `"seq":7,"seq":8`},
		"missing field":        {`"channel":"0x4000",`, ""},
		"null channel":         {`"channel":"0x4000"`, `"channel":null`},
		"decimal channel":      {`"channel":"0x4000"`, `"channel":16384`},
		"peer without port":    {`"peer":"192.0.2.9:9000"`, `"peer":"192.0.2.9"`},
		"cut":                  {`Z"}`, `Z`},
		"two objects":          {`Z"}`, `Z"}{}`},
		"a newline within":     {`,"event"`, ",\n\"event\""},
		"too long":             {"edge-1", strings.Repeat("e", 65536)},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s: nothing changed", why)
		}
		if logs.ValidateLine([]byte(bad)) == nil {
			t.Errorf("%s is accepted", why)
		}
	}
}
