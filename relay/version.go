// SPDX-License-Identifier: Apache-2.0

package relay

// Version is what log.opened, relay.started and `relay version` say.
const Version = "0.1.0"
