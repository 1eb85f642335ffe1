// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"net/netip"
	"os"

	"plumbline/logs"
)

// sayStarted logs that the relay serves, and on the embedded default tells a
// person what to try next. The credential goes to the console alone, never into
// the log.
func (r *Relay) sayStarted(c *inForce) {
	listen := make([]logs.Addr, 0, len(c.Listen))
	for _, a := range r.plane.Local() {
		listen = append(listen, logs.Addr{AddrPort: a})
	}
	public := []string{r.addrs.public.String()}
	r.log.Log(logs.Started{Version: Version, PID: os.Getpid(), Listen: listen, Public: public, ConfigFile: pathOrNil(c.path), Generation: c.generation})
	if c.path == "" {
		_ = r.log.Flush() // so that the console shows the events above the banner
		fmt.Fprint(r.opt.Console, banner(c, r.plane.Local()))
	}
	if r.opt.Started != nil {
		r.opt.Started()
	}
}

func banner(c *inForce, listen []netip.AddrPort) string {
	user := c.Auth.Users[0]
	at := listen[0]
	return fmt.Sprintf(`
Plumbline %s serves on %s (loopback only, user-space datapath).

  user %s   password %s   realm %s

Try, in another terminal:
  bin/relay probe                         check it end to end
  bin/relay status                        what is intended, what the kernel holds
  bin/analyze timeline %s
  turnutils_uclient -y -c -e 127.0.0.1 -u %s -w %s 127.0.0.1    (Debian package coturn)

Ctrl-C ends it. To run it for real, start from configs/relay.yaml.

`, Version, at, user.Name, user.Password, c.Relay.Realm, c.Logs.Dir, user.Name, user.Password)
}
