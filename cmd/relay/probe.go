// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"plumbline/relay/config"
	"plumbline/relay/probe"
)

type probeCommand struct {
	Server   string        `help:"Relay to probe. Without it: the default relay on this machine." placeholder:"HOST:PORT"`
	User     string        `help:"User name. Without it: the credential that the default relay keeps."`
	Password string        `help:"Password of the user."`
	IPv6     bool          `name:"ipv6" help:"Reach the relay over IPv6; relayed addresses are IPv4 all the same."`
	Count    int           `help:"Datagrams to send." default:"20"`
	Timeout  time.Duration `help:"How long to wait for any one answer." default:"3s"`
	JSON     bool          `help:"Print JSON."`
}

// Run probes; exit 0 when everything came back, else 1.
func (c *probeCommand) Run(s *surroundings) error {
	o := probe.Options{Server: c.Server, User: c.User, Password: c.Password, IPv6: c.IPv6, Count: c.Count, Timeout: c.Timeout}
	if c.Count < 1 || c.Count > 1_000_000 {
		return fmt.Errorf("--count %d: want 1 to 1000000", c.Count)
	}
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout %v: want a time above 0, such as 3s", c.Timeout)
	}
	var err error
	if o.Server, o.User, o.Password, err = whom(c.Server, c.User, c.Password, c.IPv6); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	result, err := probe.Run(ctx, o)
	if werr := result.Write(s.out, c.JSON); werr != nil {
		return werr
	}
	if err != nil {
		return exitCode(1) // the result says why
	}
	return nil
}

// whom says which relay is meant, and who asks it: what was given, else the
// default relay on this machine with the credential that it keeps.
func whom(server, user, password string, ipv6 bool) (toServer, asUser, withPassword string, err error) {
	toServer = server
	if server == "" {
		toServer = "127.0.0.1:" + probe.DefaultPort
		if ipv6 {
			toServer = "[::1]:" + probe.DefaultPort
		}
	}
	if user != "" {
		return toServer, user, password, nil
	}
	if server != "" || password != "" {
		return "", "", "", errors.New("--user is missing: say who asks, with --user and --password")
	}
	kept, err := keptCredential()
	return toServer, kept.Name, kept.Password, err
}

func keptCredential() (config.User, error) {
	dir, err := config.StateDir()
	if err != nil {
		return config.User{}, err
	}
	user, err := config.KeptCredential(dir)
	if err != nil {
		return config.User{}, fmt.Errorf("%w: start the default relay with `relay run`, or name another with --server, --user and --password", err)
	}
	return user, nil
}
