// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/pion/turn/v3"
	"golang.org/x/sys/unix"
)

// servePion runs pion/turn's server until SIGTERM.
func servePion(listen netip.AddrPort, user, password, realm string) error {
	server, err := startPion(listen, user, password, realm)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	<-ctx.Done()
	return server.Close()
}

// startPion starts it on one SO_REUSEPORT socket a CPU, which is how its authors
// use more than one CPU for UDP.
func startPion(listen netip.AddrPort, user, password, realm string) (*turn.Server, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, failed)
	}}
	address := listen.Addr().String()
	relays := &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(address), Address: address}
	var conns []turn.PacketConnConfig
	for range runtime.NumCPU() {
		conn, err := config.ListenPacket(context.Background(), "udp4", listen.String())
		if err != nil {
			for _, c := range conns {
				_ = c.PacketConn.Close()
			}
			return nil, fmt.Errorf("listening on %s: %w", listen, err)
		}
		conns = append(conns, turn.PacketConnConfig{PacketConn: conn, RelayAddressGenerator: relays})
	}
	key := turn.GenerateAuthKey(user, realm, password)
	server, err := turn.NewServer(turn.ServerConfig{
		Realm:             realm,
		AuthHandler:       func(u, _ string, _ net.Addr) ([]byte, bool) { return key, u == user },
		PacketConnConfigs: conns,
	})
	if err != nil {
		return nil, fmt.Errorf("starting pion/turn's server: %w", err)
	}
	return server, nil
}
