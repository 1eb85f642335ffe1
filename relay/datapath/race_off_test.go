// SPDX-License-Identifier: Apache-2.0

//go:build !race

package datapath

// raceDetector says that sync.Pool loses entries at random on purpose.
const raceDetector = false
