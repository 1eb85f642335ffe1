// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"plumbline/analyze"
)

// showProgress shows on a terminal how much of the log has been read, once that
// takes long. The function that it returns ends it and wipes the line.
func showProgress(errs io.Writer, r *analyze.Reader) (done func()) {
	if _, total := r.Progress(); total == 0 || !isTerminal(errs) {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-stop:
				if shown {
					fmt.Fprint(errs, "\r\x1b[K")
				}
				return
			case <-tick.C:
				read, total := r.Progress()
				fmt.Fprintf(errs, "\r\x1b[Kreading: %d of %d MB (%d %%)", read>>20, total>>20, 100*read/max(total, 1))
				shown = true
			}
		}
	}()
	return func() { close(stop); <-stopped }
}
