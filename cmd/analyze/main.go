// SPDX-License-Identifier: Apache-2.0

// Command analyze reads the logs of plumbline relays: as a timeline, as
// findings where kernel and intent differ, as sums, or through jq filters.
package main

import (
	"os"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
