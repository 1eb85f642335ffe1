// SPDX-License-Identifier: Apache-2.0

package device

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TransmitErrors is how many frames the device has failed to transmit for XDP
// since it was made: those answered with XDP_TX on it, and those redirected to
// it. Each is a frame that the router counted as relayed and that nobody got.
//
// Drivers name these counters as they like; see isTransmitError. If this one
// counts nothing of the kind the error is [ErrUnknown]: the frames may be lost
// all the same.
//
// What it can't show (seen on veth with Linux 6.18):
//
//   - A veth whose other end has GRO on, but no XDP program, takes XDP_TX frames
//     and counts them as sent (xdp_tx), and none arrives. No error counter rises on
//     either end. All that tells is that the device's tx_packets does not rise with
//     them, which a veth takes from its other end's receive side.
//   - A redirect to a device that can't transmit the frame (see
//     [Features.TransmitsRedirected]) is a drop of the device that it came in on,
//     among those of any other cause (rx_queue_0_drops).
//   - Generic mode counts its losses nowhere but in a tracepoint.
func TransmitErrors(name string) (uint64, error) {
	stats, err := Statistics(name)
	if err != nil {
		return 0, err
	}
	n, err := sumTransmitErrors(stats)
	if err != nil {
		return 0, fmt.Errorf("XDP transmit errors of %s: %w", name, err)
	}
	return n, nil
}

// Counter is one of a driver's statistics.
type Counter struct {
	Name  string
	Value uint64
}

// transmitError matches the names of counters of frames that XDP failed to send:
//
//	rx_queue_0_xdp_tx_errors, tx_queue_0_xdp_xmit_errors   veth
//	tx_xdp_tx_drops, tx0_xdp_tx_drops, tx_queue_0_xdp_tx_drops   virtio_net
//	rx_xdp_tx_err, rx_xdp_tx_full, tx_xdp_err, tx0_xdp_full   mlx5
//	rx_xdp_tx_errors, tx_xdp_xmit_errors   mvneta, mvpp2, fec
//	rx_xdp_tx_errors[0], tx_xdp_xmit_errors[0]   gve
//
// What a program dropped by its own verdict (rx_queue_0_xdp_drops) is not one.
var transmitError = regexp.MustCompile(`(xdp_(tx|xmit)|^tx(_queue_)?[0-9]*_xdp)_(err|errors?|full|drops?)(\[[0-9]+\])?$`)

func isTransmitError(name string) bool { return transmitError.MatchString(name) }

var digits = regexp.MustCompile(`\[?[0-9]+\]?`)

// sumTransmitErrors adds the counters up; if there is none, that is not a sum of
// zero, but ErrUnknown. Some drivers give a total beside the counters of each
// queue: then only the total counts, which also remembers queues that are gone.
func sumTransmitErrors(stats []Counter) (sum uint64, err error) {
	totals := map[string]bool{}
	for _, c := range stats {
		if isTransmitError(c.Name) && !digits.MatchString(c.Name) {
			totals[c.Name] = true
		}
	}
	err = fmt.Errorf("%w: its driver has no such counter", ErrUnknown)
	for _, c := range stats {
		if !isTransmitError(c.Name) {
			continue
		}
		err = nil
		if digits.MatchString(c.Name) && totals[digits.ReplaceAllString(c.Name, "")] {
			continue
		}
		sum += c.Value
	}
	return sum, err
}

// Statistics are the driver's own statistics, as "ethtool -S" shows them. For a
// device that has none the error is [ErrUnknown].
func Statistics(name string) ([]Counter, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to ask for the statistics of %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	// The number of queues, and with it that of the counters, can change between
	// the three questions that it takes.
	const tries = 4
	for range tries {
		var stats []Counter
		stats, err = statistics(fd, name)
		if err == nil {
			return stats, nil
		}
		if !errors.Is(err, errMoved) {
			break
		}
	}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("statistics of %s: %w: its driver has none", name, ErrUnknown)
	case errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("statistics of %s: %w", name, ErrNotFound)
	}
	return nil, fmt.Errorf("reading the statistics of %s: %w", name, err)
}

var errMoved = errors.New("the number of counters changed meanwhile")

// Of include/uapi/linux/ethtool.h.
const (
	ethtoolGStrings  = 0x1b // ETHTOOL_GSTRINGS
	ethtoolGStats    = 0x1d // ETHTOOL_GSTATS
	ethtoolGSSetInfo = 0x37 // ETHTOOL_GSSET_INFO
	ethSSStats       = 1    // ETH_SS_STATS
	ethGStringLen    = 32   // ETH_GSTRING_LEN
)

func statistics(fd int, name string) ([]Counter, error) {
	// struct ethtool_sset_info with room for one set's size.
	info := &struct {
		cmd, reserved uint32
		mask          uint64
		size          uint32
		_             uint32
	}{cmd: ethtoolGSSetInfo, mask: 1 << ethSSStats}
	if err := ethtool(fd, name, unsafe.Pointer(info)); err != nil {
		return nil, err
	}
	if info.mask == 0 || info.size == 0 {
		return nil, unix.EOPNOTSUPP
	}
	// A kernel may write as many as there are by then, whatever was asked for
	// (ethtool_get_stats in net/ethtool/ioctl.c): the room to spare is for queues
	// that appear meanwhile.
	n := int(info.size)
	room := 2*n + 256

	// struct ethtool_gstrings: cmd, string_set, len, then the strings.
	names := make([]uint32, 3+room*ethGStringLen/4)
	names[0], names[1], names[2] = ethtoolGStrings, ethSSStats, uint32(n)
	if err := ethtool(fd, name, unsafe.Pointer(&names[0])); err != nil {
		return nil, err
	}
	// struct ethtool_stats: cmd, n_stats, then the values.
	values := make([]uint64, 1+room)
	head := (*[2]uint32)(unsafe.Pointer(&values[0]))
	head[0], head[1] = ethtoolGStats, uint32(n)
	if err := ethtool(fd, name, unsafe.Pointer(&values[0])); err != nil {
		return nil, err
	}
	if names[2] != uint32(n) || head[1] != uint32(n) {
		return nil, errMoved
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&names[3])), n*ethGStringLen)
	stats := make([]Counter, n)
	for i := range stats {
		name := unix.ByteSliceToString(text[i*ethGStringLen : (i+1)*ethGStringLen])
		stats[i] = Counter{Name: strings.TrimSpace(name), Value: values[1+i]}
	}
	return stats, nil
}

// ethtool runs one ethtool command, whose structure data points to.
func ethtool(fd int, name string, data unsafe.Pointer) error {
	// struct ifreq; its union is 24 bytes.
	req := &struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: data}
	if len(name) >= len(req.name) {
		return unix.ENODEV
	}
	copy(req.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(req)))
	runtime.KeepAlive(data)
	if errno != 0 {
		return errno
	}
	return nil
}
