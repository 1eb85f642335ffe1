// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// offload is one of a device's features with its pair of ethtool commands
// (include/uapi/linux/ethtool.h). The old per-feature ioctls are used because
// they need no table of feature bits and every kernel has them.
type offload struct {
	name     string
	get, set uint32
}

var (
	txChecksum = offload{"tx checksum", 0x16, 0x17} // ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM
	tso        = offload{"TSO", 0x1e, 0x1f}         // ETHTOOL_GTSO, ETHTOOL_STSO
	gso        = offload{"GSO", 0x23, 0x24}         // ETHTOOL_GGSO, ETHTOOL_SGSO
	gro        = offload{"GRO", 0x2b, 0x2c}         // ETHTOOL_GGRO, ETHTOOL_SGRO
)

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct{ cmd, data uint32 }

// ifreqData is struct ifreq with its data pointer; the union is 24 bytes.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// setOffload switches a feature of a device in the thread's namespace and reads
// it back: the kernel may silently keep a feature that another one needs.
func setOffload(dev string, f offload, on bool) error {
	want := uint32(0)
	if on {
		want = 1
	}
	// A feature that the device cannot have (no TSO where XDP receives) is off,
	// yet even switching it off is refused.
	if now, err := getOffload(dev, f); err != nil || now == on {
		return err
	}
	if _, err := ethtoolIoctl(dev, ethtoolValue{f.set, want}); err != nil {
		return fmt.Errorf("setting %s of %s to %d: %w", f.name, dev, want, err)
	}
	got, err := getOffload(dev, f)
	if err != nil {
		return err
	}
	if got != on {
		return fmt.Errorf("set %s of %s to %t, but the kernel reports %t", f.name, dev, on, got)
	}
	return nil
}

// getOffload reads a feature of a device in the thread's namespace.
func getOffload(dev string, f offload) (bool, error) {
	v, err := ethtoolIoctl(dev, ethtoolValue{cmd: f.get})
	if err != nil {
		return false, fmt.Errorf("reading %s of %s: %w", f.name, dev, err)
	}
	return v.data != 0, nil
}

func ethtoolIoctl(dev string, v ethtoolValue) (ethtoolValue, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return v, err
	}
	defer func() { _ = unix.Close(fd) }()
	value := &v
	req := &ifreqData{data: unsafe.Pointer(value)}
	if len(dev) >= len(req.name) {
		return v, fmt.Errorf("link name %q is longer than 15 bytes", dev)
	}
	copy(req.name[:], dev)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(req)))
	runtime.KeepAlive(value)
	if errno != 0 {
		return v, errno
	}
	return *value, nil
}
