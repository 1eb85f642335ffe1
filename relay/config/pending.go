// SPDX-License-Identifier: Apache-2.0

package config

// pending are keys of the contract that nothing acts on yet, with why. Their
// default is accepted; any other value is refused, because a setting that is
// accepted and does nothing is worse than none. Whoever builds the feature
// takes the line out.
var pending = map[string]string{
	"allocations.default_family": "relayed addresses are IPv4 only in this version",
	"drain.alternate_server":     "draining is not in this version",
	"drain.timeout":              "draining is not in this version",
}
