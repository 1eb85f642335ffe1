// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
const membarrierGlobal = 1

// GracePeriod returns once every run of the router that had begun before the
// call has ended, and with it whatever it had read of a map: the kernel waits
// for RCU, under which XDP programs run. It takes milliseconds to tens of them.
//
// Kernels booted with nohz_full refuse (EINVAL), others may be built without
// membarrier (ENOSYS). Then nothing may be reused: neither a flow number nor,
// before some packets' time has passed, a config slot.
func GracePeriod() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return fmt.Errorf("wait for an RCU grace period: membarrier(MEMBARRIER_CMD_GLOBAL): %w; "+
			"this kernel lacks it or was booted with nohz_full: keep used flow numbers out of use", errno)
	}
	return nil
}

// MonotonicNS is CLOCK_MONOTONIC in nanoseconds, the clock of every lease and
// expiry. The router reads its coarse variant, which lags by up to one timer
// tick (1 to 10 ms).
func MonotonicNS() uint64 {
	var t unix.Timespec
	// It cannot fail: the clock is mandatory and the pointer is good.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}
