// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// DefaultMaxFlows is two directions each of 65,536 channels.
const DefaultMaxFlows = 131072

// largestMaxFlows keeps every size in bytes far from 32 bits.
const largestMaxFlows = 1 << 24

// LoadOptions says what Load makes.
type LoadOptions struct {
	// MaxFlows is the number of flow numbers and of routes, one for each
	// direction of a channel; 0 is DefaultMaxFlows. Adopted maps keep theirs.
	MaxFlows uint32
	// Adopt is a folder of pins. If maps are pinned there, the router uses
	// those instead of new ones: what they hold stays in force, and their
	// counters go on.
	Adopt string
}

// Router is the XDP program with its maps, in the kernel.
type Router struct {
	program *ebpf.Program
	maps    *Maps
	adopted bool

	id           ebpf.ProgramID
	tag          string
	instructions uint32
}

// Load brings the router into the kernel, attached to nothing. Its maps are
// empty, so it would pass every frame up, unless they were adopted. It takes
// CAP_BPF and CAP_NET_ADMIN; nothing later but SelfTest and Attach does.
func Load(opts LoadOptions) (*Router, error) {
	if opts.MaxFlows == 0 {
		opts.MaxFlows = DefaultMaxFlows
	}
	if opts.MaxFlows > largestMaxFlows {
		return nil, fmt.Errorf("load the router: %d flows, at most %d can be had", opts.MaxFlows, largestMaxFlows)
	}
	var replace map[string]*ebpf.Map
	var pinned *Maps
	if opts.Adopt != "" {
		var err error
		if pinned, err = openPinned(opts.Adopt, false); err != nil {
			return nil, fmt.Errorf("adopt pinned maps: %w", err)
		}
		defer pinned.Close()
		opts.MaxFlows = pinned.maxFlows
		replace = make(map[string]*ebpf.Map)
		for _, n := range pinned.kernel.all() {
			replace[n.name] = *n.at
		}
	}
	program, kernel, err := load(opts.MaxFlows, replace)
	if err != nil {
		return nil, err
	}
	maps, err := newMaps(kernel, true)
	if err != nil {
		return nil, errors.Join(err, program.Close())
	}
	r := &Router{program: program, maps: maps, adopted: pinned != nil}
	if err := r.identify(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func load(maxFlows uint32, replace map[string]*ebpf.Map) (*ebpf.Program, routerMaps, error) {
	spec, err := loadRouter()
	if err != nil {
		return nil, routerMaps{}, fmt.Errorf("read the router's object: %w", err)
	}
	for _, name := range []string{routerMapRoutes, routerMapFlows, routerMapFlowCounters} {
		spec.Maps[name].MaxEntries = maxFlows
	}
	var loaded struct {
		routerPrograms
		routerMaps
	}
	err = spec.LoadAndAssign(&loaded, &ebpf.CollectionOptions{MapReplacements: replace})
	if errors.Is(err, ebpf.ErrNotSupported) {
		err = fmt.Errorf("%w; the router needs Linux 6.1", err)
	}
	if errors.Is(err, unix.EPERM) {
		// The library guesses at a memory limit, which has not bound BPF maps
		// since Linux 5.11.
		err = fmt.Errorf("%w: it takes CAP_BPF and CAP_NET_ADMIN", unix.EPERM)
	}
	if err != nil {
		return nil, routerMaps{}, fmt.Errorf("load the router: %w", err)
	}
	return loaded.Router, loaded.routerMaps, nil
}

// identify reads back from the kernel what was loaded.
func (r *Router) identify() error {
	info, err := r.program.Info()
	if err != nil {
		return fmt.Errorf("read back the loaded router: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return errors.New("read back the loaded router: the kernel tells no program id")
	}
	r.id, r.tag = id, info.Tag
	r.instructions, _ = info.VerifiedInstructions() // since 5.16
	used, ok := info.MapIDs()
	if !ok {
		return errors.New("read back the loaded router: the kernel tells no map ids")
	}
	for _, n := range r.maps.kernel.all() {
		info, err := (*n.at).Info()
		if err != nil {
			return fmt.Errorf("read back the map %s: %w", n.name, err)
		}
		if id, _ := info.ID(); !slices.Contains(used, id) {
			return fmt.Errorf("the loaded router does not use the map %s (id %d)", n.name, id)
		}
	}
	return nil
}

// Maps is access to the router's maps, for as long as it is not closed.
func (r *Router) Maps() *Maps { return r.maps }

// Adopted says that the maps were there before the router.
func (r *Router) Adopted() bool { return r.adopted }

// ProgramID is the kernel's number for the loaded program.
func (r *Router) ProgramID() uint32 { return uint32(r.id) }

// ProgramTag is the kernel's hash of the program's instructions.
func (r *Router) ProgramTag() string { return r.tag }

// VerifiedInstructions is what the verifier walked, or 0 where the kernel does
// not tell.
func (r *Router) VerifiedInstructions() uint32 { return r.instructions }

// Pin puts the maps into dir, on a bpffs, under their names. Those that were
// adopted from there stay.
func (r *Router) Pin(dir string) error { return r.maps.Pin(dir) }

// Close lets go of program and maps. They live on while attached, or pinned.
func (r *Router) Close() error {
	return errors.Join(r.program.Close(), r.maps.Close())
}
