// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"plumbline/relay/stage"
)

// narrator tells the story: headers, what is so, commands with what they print.
type narrator struct{ out io.Writer }

func (n narrator) line(text string) { fmt.Fprintln(n.out, text) }

// act begins an act.
func (n narrator) act(number int, title string) { fmt.Fprintf(n.out, "\n%d. %s\n", number, title) }

// that says what was found to be so.
func (n narrator) that(format string, args ...any) { fmt.Fprintf(n.out, "   "+format+"\n", args...) }

// output shows what a program printed, under its command line.
func (n narrator) output(command, text string) {
	fmt.Fprintf(n.out, "   $ %s\n", command)
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Fprintln(n.out, strings.TrimRight("     "+line, " \n"))
	}
}

// log shows lines of the relay's log as people read them: time, severity,
// message.
func (n narrator) log(lines ...stage.Line) {
	for _, l := range lines {
		at := "?"
		if t, err := timeOf(l); err == nil {
			at = t.UTC().Format("15:04:05.000")
		}
		fmt.Fprintf(n.out, "     log: %s %-5s %s\n", at, l.Severity, l.Message)
	}
}

// timeOf is when a line was written.
func timeOf(l stage.Line) (time.Time, error) {
	var v struct {
		Time time.Time `json:"time"`
	}
	err := l.Decode(&v)
	return v.Time, err
}
