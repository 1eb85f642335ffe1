// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"plumbline/relay/load"
)

type loadCommand struct {
	Server      string        `help:"Relay to load. Without it: the default relay on this machine." placeholder:"HOST:PORT"`
	User        string        `help:"User name. Without it: the credential that the default relay keeps."`
	Password    string        `help:"Password of the user."`
	IPv6        bool          `name:"ipv6" help:"Reach the relay over IPv6."`
	Allocations int           `help:"Allocations, each with a peer of its own: 1 to 1000. The relay allows a user allocations.per_user of them (10 unless changed)." default:"4"`
	Rate        int           `help:"Packets/s over all allocations and both directions: 1 to 200000." default:"1000"`
	Size        int           `help:"Bytes of a payload: 28 to 1448." default:"172"`
	Duration    time.Duration `help:"How long to send, up to 10m. Ctrl-C ends early, with a result." default:"5s"`
	Timeout     time.Duration `help:"How long to wait for any one answer, and for the last packets, up to 1m." default:"3s"`
	PeerAddress string        `help:"Local address of the peers, which the relay must reach and allow (peers.allow). Without it: the one that reaches the relay." placeholder:"IP"`
	JSON        bool          `help:"Print JSON."`
}

// Run loads a relay; exit 0 when every packet came once and unchanged, else 1.
func (c *loadCommand) Run(s *surroundings) error {
	o := load.Options{IPv6: c.IPv6, Allocations: c.Allocations, Rate: c.Rate, Size: c.Size, Duration: c.Duration, Timeout: c.Timeout}
	if c.PeerAddress != "" {
		a, err := netip.ParseAddr(c.PeerAddress)
		if err != nil {
			return fmt.Errorf("--peer-address %q: want an IP address: %w", c.PeerAddress, err)
		}
		o.PeerAddress = a
	} else if c.IPv6 {
		// Relayed addresses are IPv4, and so must the peers be.
		if c.Server != "" {
			return errors.New("--ipv6 needs --peer-address: relayed addresses are IPv4, so name an IPv4 address of this host that the relay reaches")
		}
		o.PeerAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if err := o.Check(); err != nil {
		return err
	}
	var err error
	if o.Server, o.User, o.Password, err = whom(c.Server, c.User, c.Password, c.IPv6); err != nil {
		return err
	}
	bar := load.NewBar(s.err)
	if bar != nil {
		o.Progress = bar.Draw
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends at once
	result, err := load.Run(ctx, o)
	if bar != nil {
		bar.Clear()
	}
	if werr := result.Write(s.out, c.JSON); werr != nil {
		return werr
	}
	if err != nil {
		return exitCode(1) // the result says why
	}
	return nil
}
