// SPDX-License-Identifier: Apache-2.0

//go:build armbe || arm64be || mips || mips64 || ppc || ppc64 || s390 || s390x || sparc || sparc64

package bpf

// The objects, and the words that are stored straight into mapped memory, are
// little-endian. A build for another machine ends here.
var _ = plumblineNeedsALittleEndianMachine
