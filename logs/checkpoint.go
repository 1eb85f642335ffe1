// SPDX-License-Identifier: Apache-2.0

package logs

import "sync"

// checkpointer passes requests for checkpoints to the relay's core, one call at
// a time. One checkpoint serves all requests that came before it began, so what
// comes during a call is merged.
type checkpointer struct {
	call func(reason string)

	mu      sync.Mutex
	running bool
	closed  bool
	wanted  string
}

func (c *checkpointer) ask(reason string) {
	if c.call == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if c.wanted == "" || reason == "file" {
		c.wanted = reason
	}
	if !c.running {
		c.running = true
		go c.serve()
	}
}

func (c *checkpointer) serve() {
	for {
		c.mu.Lock()
		reason := c.wanted
		c.wanted = ""
		if reason == "" || c.closed {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.call(reason)
	}
}

// close ends the requests. A call that is under way is not waited for: it may
// hang in a core that has ended before the log.
func (c *checkpointer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}
