// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// words is the memory of an mmapable array map. Stores of whole aligned words
// are what a syscall's memcpy does not promise: the router sees the old word or
// the new one, never half of each.
type words struct {
	mu  sync.RWMutex // held for writing by close alone
	mem []byte
}

var errUnmapped = errors.New("its memory is not mapped")

func mapWords(m *ebpf.Map, entries, valueSize uint32) (*words, error) {
	page := unix.Getpagesize()
	size := (int(entries)*int(valueSize) + page - 1) / page * page
	mem, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory of %s (%d bytes): %w", m, size, err)
	}
	return &words{mem: mem}, nil
}

// store64 puts one word at an offset that is a multiple of 8.
func (w *words) store64(offset int, value uint64) error {
	if w == nil {
		return errUnmapped
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.mem == nil {
		return errUnmapped
	}
	if offset%8 != 0 || offset < 0 || offset+8 > len(w.mem) {
		return fmt.Errorf("store at byte %d of %d: out of bounds or not aligned", offset, len(w.mem))
	}
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&w.mem[offset])), value)
	return nil
}

func (w *words) close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mem == nil {
		return nil
	}
	err := unix.Munmap(w.mem)
	w.mem = nil
	return err
}
