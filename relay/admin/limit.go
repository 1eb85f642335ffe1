// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"sync"
)

// maxConnections is how many connections one endpoint holds. Those beyond are
// closed at once: each takes a file descriptor, of which every allocation needs
// one.
const maxConnections = 128

// limited closes what a listener accepts beyond its bound.
type limited struct {
	net.Listener
	room chan struct{}
}

func limit(l net.Listener, connections int) net.Listener {
	return &limited{l, make(chan struct{}, connections)}
}

// Accept waits for a connection that there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.room <- struct{}{}:
			return &counted{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
		default:
			_ = c.Close()
		}
	}
}

// counted gives its place back when it is closed, however often.
type counted struct {
	net.Conn
	leave func()
}

// Close ends the connection.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
