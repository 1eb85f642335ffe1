// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrFull says that a map has no room for another entry.
var ErrFull = errors.New("the map is full")

// Maps is typed access to the router's maps. Its methods may be called from
// several goroutines; that each map has one writer is the caller's to keep.
type Maps struct {
	kernel   routerMaps
	maxFlows uint32

	flows  *words // nil when opened for reading
	active *words
	serial atomic.Uint32
}

// newMaps takes the maps over: Close closes them.
func newMaps(kernel routerMaps, writable bool) (*Maps, error) {
	m := &Maps{kernel: kernel, maxFlows: kernel.Flows.MaxEntries()}
	// Serials of an earlier owner of the same maps should not come again.
	m.serial.Store(uint32(MonotonicNS() >> 10))
	if !writable {
		return m, nil
	}
	var err error
	if m.flows, err = mapWords(kernel.Flows, m.maxFlows, flowSize); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	if m.active, err = mapWords(kernel.ConfigActive, 1, activeSize); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// MaxFlows is the number of flow numbers, from 0, and of routes that fit.
func (m *Maps) MaxFlows() uint32 { return m.maxFlows }

// Close lets go of the maps. They live on while pinned or attached.
func (m *Maps) Close() error {
	return errors.Join(m.flows.close(), m.active.close(), m.kernel.Close())
}

// named is one map and the name of its pin.
type named struct {
	name string
	at   **ebpf.Map
}

func (k *routerMaps) all() []named {
	return []named{
		{routerMapConfigSlots, &k.ConfigSlots},
		{routerMapConfigActive, &k.ConfigActive},
		{routerMapRoutes, &k.Routes},
		{routerMapFlows, &k.Flows},
		{routerMapFlowCounters, &k.FlowCounters},
		{routerMapCounters, &k.Counters},
		{routerMapObserved, &k.Observed},
		{routerMapDecisions, &k.Decisions},
	}
}

// OpenPinned opens the maps that a relay pinned in dir, for reading: every
// write fails. They must be of this build's layout.
//
// The error matches fs.ErrNotExist where nothing is pinned and fs.ErrPermission
// where the caller may not look.
func OpenPinned(dir string) (*Maps, error) {
	return openPinned(dir, true)
}

func openPinned(dir string, readOnly bool) (*Maps, error) {
	if err := checkBPFFS(dir); err != nil {
		return nil, err
	}
	spec, err := loadRouter()
	if err != nil {
		return nil, fmt.Errorf("read the router's object: %w", err)
	}
	var kernel routerMaps
	for _, n := range kernel.all() {
		path := filepath.Join(dir, n.name)
		one, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: readOnly})
		if err != nil {
			err = fmt.Errorf("open the pinned map %s: %w", path, err)
			if errors.Is(err, os.ErrPermission) {
				err = fmt.Errorf("%w; it takes root, or CAP_BPF and leave to read %s", err, dir)
			}
			return nil, errors.Join(err, kernel.Close())
		}
		*n.at = one
		if err := compatible(spec.Maps[n.name], one); err != nil {
			err = fmt.Errorf("the pinned map %s is of another version: %w; "+
				"use the relay that pinned it, or remove %s", path, err, dir)
			return nil, errors.Join(err, kernel.Close())
		}
	}
	if a, b, c := kernel.Routes.MaxEntries(), kernel.Flows.MaxEntries(), kernel.FlowCounters.MaxEntries(); a != b || b != c {
		err := fmt.Errorf("the maps pinned in %s do not belong together: routes, flows and flow_counters hold %d, %d and %d", dir, a, b, c)
		return nil, errors.Join(err, kernel.Close())
	}
	return newMaps(kernel, !readOnly)
}

// compatible compares all of a map's shape but the number of entries, which the
// loader chooses.
func compatible(spec *ebpf.MapSpec, m *ebpf.Map) error {
	spec = spec.Copy()
	switch spec.Name {
	case routerMapRoutes, routerMapFlows, routerMapFlowCounters:
		spec.MaxEntries = m.MaxEntries()
	}
	return spec.Compatible(m)
}

// checkBPFFS tells apart what would all be "no such file" from an open.
func checkBPFFS(dir string) error {
	var fs unix.Statfs_t
	switch err := unix.Statfs(dir, &fs); {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("no maps are pinned in %s: %w; a relay with the kernel path pins them there", dir, err)
	case err != nil:
		return fmt.Errorf("look for pinned maps in %s: %w", dir, err)
	case fs.Type != unix.BPF_FS_MAGIC:
		return fmt.Errorf("%s is not on a bpffs: mount one with mount -t bpf bpf /sys/fs/bpf", dir)
	}
	return nil
}

// Pin puts the maps into dir, which it makes, on a bpffs. What it pinned goes
// again if one of them cannot be; another's pins are never replaced.
func (m *Maps) Pin(dir string) error {
	parent := dir
	for {
		if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
			break
		}
		parent = filepath.Dir(parent)
	}
	if err := checkBPFFS(parent); err != nil {
		return fmt.Errorf("pin the maps in %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for pinned maps: %w", err)
	}
	var done []*ebpf.Map
	for _, n := range m.kernel.all() {
		path := filepath.Join(dir, n.name)
		err := (*n.at).Pin(path)
		if errors.Is(err, os.ErrExist) && samePin(*n.at, path) {
			continue // adopted from here
		}
		if err != nil {
			err = fmt.Errorf("pin the map %s: %w", path, err)
			for _, d := range done {
				err = errors.Join(err, d.Unpin())
			}
			return err
		}
		done = append(done, *n.at)
	}
	return nil
}

// samePin says whether path is a pin of m.
func samePin(m *ebpf.Map, path string) bool {
	pinned, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return false
	}
	defer pinned.Close()
	ours, err := m.Info()
	if err != nil {
		return false
	}
	theirs, err := pinned.Info()
	if err != nil {
		return false
	}
	a, known := ours.ID()
	b, _ := theirs.ID()
	return known && a == b
}

// Unpin removes what Pin made in dir, the link's pin too, and dir itself if it
// is empty then. What is not there is no error.
func Unpin(dir string) error {
	var kernel routerMaps
	names := []string{linkPin}
	for _, n := range kernel.all() {
		names = append(names, n.name)
	}
	var errs []error
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("unpin: %w", err))
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, fmt.Errorf("remove the folder of pins: %w", err))
	}
	return errors.Join(errs...)
}
