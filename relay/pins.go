// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"plumbline/bpf"
)

// PinFolder is where an instance pins the router's maps and its link. They are
// what `relay status` reads, even while the relay does not answer.
func PinFolder(instance string) string {
	// A bpffs takes no dot in a name (bpf_lookup in kernel/bpf/inode.c), and an
	// instance's name has no percent sign.
	return filepath.Join("/sys/fs/bpf/plumbline", strings.ReplaceAll(instance, ".", "%2e"))
}

// pins is the instance's folder on the bpffs, locked for as long as this process
// uses it.
type pins struct {
	dir  string
	lock *os.File
}

// openPins takes the instance's folder for this process. What an earlier process
// left there is removed, its router with it: the allocations that its routes
// served ended with it. The highest generation that it held is returned, so that
// none is used twice.
func openPins(instance string) (*pins, uint32, error) {
	dir := PinFolder(instance)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, 0, fmt.Errorf("making the folder for pins: %w: is a bpffs mounted on /sys/fs/bpf, and are you root?", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, 0, fmt.Errorf("making the folder for pins: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the folder of pins: %w", err)
	}
	p := &pins{dir: dir, lock: lock}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(lock.Fd()), &st); err != nil || st.Type != unix.BPF_FS_MAGIC {
		lock.Close()
		_ = os.Remove(dir) // only if it is empty, as one that was just made
		return nil, 0, fmt.Errorf("%s is not on a bpffs: mount one with mount -t bpf bpf /sys/fs/bpf", dir)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, 0, &instanceTaken{fmt.Errorf("another relay named %q runs on this machine (it holds %s): give this one another relay.name", instance, dir)}
	}
	generation := p.generation()
	if err := p.clear(); err != nil {
		lock.Close()
		return nil, 0, fmt.Errorf("removing what an earlier process pinned: %w", err)
	}
	return p, generation, nil
}

// instanceTaken is the one reason not to go on without pins: another process
// would be robbed of its own.
type instanceTaken struct{ error }

// generation is the highest one in the maps that are pinned, 0 where there are
// none of this layout.
func (p *pins) generation() uint32 {
	maps, err := bpf.OpenPinned(p.dir)
	if err != nil {
		return 0
	}
	defer maps.Close()
	var highest uint32
	for slot := range uint32(bpf.Slots) {
		if s, err := maps.ReadSlot(slot); err == nil {
			if cfg, _, valid := bpf.DecodeSlot(s); valid {
				highest = max(highest, cfg.Generation)
			}
		}
		// A slot may have been blanked; the router's stamps still tell.
		seen, _ := maps.Observed(slot)
		for _, o := range seen {
			highest = max(highest, o.Generation)
		}
	}
	return highest
}

// clear removes the pins but not the locked folder. A router that is still
// attached is detached first: when the last pin of a link is removed, the kernel
// takes the program off its device some time later only, and until then the next
// one finds the device taken.
func (p *pins) clear() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	if l, err := link.LoadPinnedLink(filepath.Join(p.dir, "link"), nil); err == nil {
		// EINVAL: it is off already. Any other failure shows at the attaching.
		_ = l.Detach()
		_ = l.Close()
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(p.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// remove gives the folder back at the end.
func (p *pins) remove() error {
	err := bpf.Unpin(p.dir)
	return errors.Join(err, p.lock.Close())
}
