// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of /proc/stat and /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go and BPF share.
const userHZ = 100

// kthreadd is the parent of all kernel threads.
const kthreadd = 2

// cpuTime is what the machine's CPUs have done up to a moment.
type cpuTime struct {
	at      time.Time
	idle    time.Duration // of all CPUs: idle, and idle with I/O under way
	stolen  time.Duration // by the hypervisor
	foreign time.Duration // used by processes that are neither ours nor the kernel's
}

// cpuUse is what they did in between.
type cpuUse struct {
	Busy    time.Duration // work of ours and the kernel
	Foreign time.Duration // of other processes, not in Busy
	Wall    time.Duration
}

// since is the work since a. Busy is what is not idle, rather than the sum of
// /proc/stat's busy columns: on a tickless kernel the idle time is measured, while
// the others are samples taken by a tick that packet processing can dodge.
func (c cpuTime) since(a cpuTime, cpus int) cpuUse {
	u := cpuUse{Wall: c.at.Sub(a.at), Foreign: max(c.foreign-a.foreign, 0)}
	u.Busy = time.Duration(cpus)*u.Wall - (c.idle - a.idle) - (c.stolen - a.stolen) - u.Foreign
	return u
}

// plus adds what was done in another stretch of time.
func (u cpuUse) plus(o cpuUse) cpuUse {
	return cpuUse{u.Busy + o.Busy, u.Foreign + o.Foreign, u.Wall + o.Wall}
}

// beginCPU and endCPU read the same, each with the slow part on the side that is not
// measured.
func beginCPU() (cpuTime, error) { return readCPU(false) }
func endCPU() (cpuTime, error)   { return readCPU(true) }

func readCPU(end bool) (c cpuTime, err error) {
	if end {
		if err = c.readStat(); err != nil {
			return c, err
		}
	}
	if c.foreign, err = foreignCPU("/proc", os.Getpid()); err != nil {
		return c, err
	}
	if !end {
		err = c.readStat()
	}
	return c, err
}

func (c *cpuTime) readStat() error {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return err
	}
	c.at = time.Now()
	c.idle, c.stolen, err = parseStat(data)
	return err
}

// parseStat reads the first line of /proc/stat (proc_stat(5)).
func parseStat(data []byte) (idle, stolen time.Duration, err error) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q, want cpu and eight numbers at least", line)
	}
	var n [9]int64
	for i := 1; i < 9; i++ {
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
	}
	return ticks(n[4] + n[5]), ticks(n[8]), nil
}

func ticks(n int64) time.Duration { return time.Duration(n) * time.Second / userHZ }

// process is a line of /proc/PID/stat.
type process struct {
	parent int
	used   time.Duration // by it and by its children that ended
}

// foreignCPU sums the CPU time of all processes but self, its descendants and
// the kernel's threads. A process that ends takes nothing away from the sum, as
// its time then counts as its parent's.
func foreignCPU(proc string, self int) (time.Duration, error) {
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	if err != nil {
		return 0, err
	}
	all := make(map[int]process, len(names))
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			continue
		}
		if all[pid], err = parseProcess(data); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	var sum time.Duration
	for pid, p := range all {
		if !descends(all, pid, self) && !descends(all, pid, kthreadd) {
			sum += p.used
		}
	}
	return sum, nil
}

func descends(all map[int]process, pid, from int) bool {
	for range 64 { // a chain read while it changed could have a loop
		if pid == from {
			return true
		}
		p, ok := all[pid]
		if !ok || p.parent == 0 {
			return false
		}
		pid = p.parent
	}
	return false
}

// parseProcess reads proc_pid_stat(5). The command's name may contain anything,
// also blanks and parentheses.
func parseProcess(data []byte) (process, error) {
	end := bytes.LastIndexByte(data, ')')
	f := strings.Fields(string(data[end+1:]))
	const state, ppid, utime, cstime = 0, 1, 11, 14
	if end < 0 || len(f) <= cstime || len(f[state]) != 1 {
		return process{}, fmt.Errorf("%q is not what proc_pid_stat(5) says", data)
	}
	parent, err := strconv.Atoi(f[ppid])
	if err != nil {
		return process{}, err
	}
	p := process{parent: parent}
	for _, s := range f[utime : cstime+1] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return process{}, err
		}
		p.used += ticks(n)
	}
	return p, nil
}

// urgent runs fn with this process, and what it starts, preferred to all other
// processes: what else happens on the machine then disturbs less.
func urgent(fn func() error) error {
	if err := setNice(-20); err != nil {
		return err
	}
	return errors.Join(fn(), setNice(0))
}

// setNice sets the nice value of all threads; those started later get it from
// their parents.
func setNice(nice int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, nice); err != nil && err != unix.ESRCH {
			return fmt.Errorf("setting the nice value of thread %d to %d: %w", id, nice, err)
		}
	}
	return nil
}
