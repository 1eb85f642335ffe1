// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Route is one entry of the map routes.
type Route struct {
	Key    RouteKey
	Number uint32 // of its flow
}

// PutRoute points a key to a flow number, whether or not the key was there. Its
// flow must have been put before. The error matches ErrFull if the map has no
// room for another key.
func (m *Maps) PutRoute(key RouteKey, number uint32) error {
	err := m.kernel.Routes.Put(key.encode(), number)
	if errors.Is(err, unix.E2BIG) {
		err = fmt.Errorf("%w: it holds %d routes", ErrFull, m.maxFlows)
	}
	if err != nil {
		return fmt.Errorf("put route %s: %w", key, err)
	}
	return nil
}

// LookupRoute asks the kernel for a key's flow number.
func (m *Maps) LookupRoute(key RouteKey) (number uint32, found bool, err error) {
	err = m.kernel.Routes.Lookup(key.encode(), &number)
	switch {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look up route %s: %w", key, err)
	}
	return number, true, nil
}

// DeleteRoute removes a key. One that is not there is no error.
func (m *Maps) DeleteRoute(key RouteKey) error {
	err := m.kernel.Routes.Delete(key.encode())
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete route %s: %w", key, err)
	}
	return nil
}

// Routes dumps the map. Each key that is in it from the call to the return is
// in the result, once; keys that come or go meanwhile may be or not. The kernel
// hands out whole buckets (a walk from key to key would start over, or stop
// early, when its key is deleted under it).
func (m *Maps) Routes() ([]Route, error) {
	const batch = 4096 // entries per syscall; one bucket must fit
	seen := make(map[RouteKey]uint32)
	for size := batch; ; size *= 2 {
		err := m.dumpRoutes(seen, size)
		switch {
		case errors.Is(err, unix.ENOSPC) && size < 1<<22: // a bucket did not fit
			clear(seen)
			continue
		case err != nil:
			return nil, fmt.Errorf("dump routes: %w", err)
		}
		break
	}
	routes := make([]Route, 0, len(seen))
	for key, number := range seen {
		routes = append(routes, Route{key, number})
	}
	return routes, nil
}

func (m *Maps) dumpRoutes(into map[RouteKey]uint32, batch int) error {
	keys := make([][keySize]byte, batch)
	numbers := make([]uint32, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.kernel.Routes.BatchLookup(&cursor, keys, numbers, nil)
		for i := range n {
			into[decodeKey(keys[i][:])] = numbers[i]
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (m *Maps) checkNumber(number uint32) error {
	if number >= m.maxFlows {
		return fmt.Errorf("flow %d: numbers end at %d", number, m.maxFlows-1)
	}
	return nil
}

// PutFlow writes a flow. The write is not atomic: no route may point to the
// number, nor have pointed to it less than a GracePeriod ago.
func (m *Maps) PutFlow(number uint32, f Flow) error {
	if err := m.checkNumber(number); err != nil {
		return err
	}
	serial := m.serial.Add(1)
	if err := m.kernel.Flows.Put(number, f.encode(serial)); err != nil {
		return fmt.Errorf("put flow %d: %w", number, err)
	}
	return nil
}

// ReadFlow asks the kernel for a flow. One that was never put reads as zero.
func (m *Maps) ReadFlow(number uint32) (Flow, error) {
	if err := m.checkNumber(number); err != nil {
		return Flow{}, err
	}
	var b [flowSize]byte
	if err := m.kernel.Flows.Lookup(number, &b); err != nil {
		return Flow{}, fmt.Errorf("read flow %d: %w", number, err)
	}
	return decodeFlow(b[:]), nil
}

// SetExpiry sets the expiry of a live flow, CLOCK_MONOTONIC in nanoseconds: one
// aligned store through the map's memory, which the router sees whole.
func (m *Maps) SetExpiry(number uint32, ns uint64) error {
	if err := m.checkNumber(number); err != nil {
		return err
	}
	if err := m.flows.store64(int(number)*flowSize+flowExpiry, ns); err != nil {
		return fmt.Errorf("set the expiry of flow %d: %w", number, err)
	}
	return nil
}

// FlowTraffic asks the kernel what the router relayed under a flow number. Bytes
// are application data, without the ChannelData header. The router alone writes
// them, so a number's count goes on under its next flow: read it before that
// one's first route, and take the difference.
func (m *Maps) FlowTraffic(number uint32) (packets, bytes uint64, err error) {
	if err := m.checkNumber(number); err != nil {
		return 0, 0, err
	}
	var b [flowCountersSize]byte
	if err := m.kernel.FlowCounters.Lookup(number, &b); err != nil {
		return 0, 0, fmt.Errorf("read the traffic of flow %d: %w", number, err)
	}
	return binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]), nil
}
