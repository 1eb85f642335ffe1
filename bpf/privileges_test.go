// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"plumbline/bpf"
)

// onlyCapabilities takes all others from a thread, and runs a function on it.
// The thread ends with the function.
func onlyCapabilities(t *testing.T, keep []uint, run func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is thrown away
		var data [2]unix.CapUserData
		for _, c := range keep {
			data[c/32].Permitted |= 1 << (c % 32)
			data[c/32].Effective |= 1 << (c % 32)
		}
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
		if err == nil {
			err = run()
		}
		done <- err
	}()
	return <-done
}

// Two capabilities load, test and attach the router; none are needed after that.
func TestCapabilities(t *testing.T) {
	load(t, 1) // skips where nothing can be loaded
	ifindex := veth(t, 1500)
	own, err := os.Open("/proc/thread-self/ns/net")
	check(t, err)
	defer own.Close()

	var router *bpf.Router
	var attachment *bpf.Attachment
	enter := func() error { return unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) }
	err = onlyCapabilities(t, []uint{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}, func() error {
		if err := enter(); err != nil { // what the two alone may not
			return err
		}
		var data [2]unix.CapUserData
		for _, c := range []uint{unix.CAP_BPF, unix.CAP_NET_ADMIN} {
			data[c/32].Permitted |= 1 << (c % 32)
			data[c/32].Effective |= 1 << (c % 32)
		}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
			return err
		}
		// That CAP_PERFMON is gone: what needs it must be refused.
		if p, err := ebpf.NewProgram(subtractsPointers); err == nil {
			p.Close()
			t.Log("this kernel asks for no CAP_PERFMON (mitigations off): the test shows less than it could")
		} else if !errors.Is(err, unix.EACCES) {
			t.Errorf("the program that needs CAP_PERFMON: %v", err)
		}
		var err error
		if router, err = bpf.Load(bpf.LoadOptions{MaxFlows: 4}); err != nil {
			return err
		}
		t.Logf("verified %d instructions without CAP_PERFMON", router.VerifiedInstructions())
		if err := router.SelfTest(); err != nil {
			return err
		}
		attachment, err = router.Attach(ifindex, bpf.Generic)
		return err
	})
	check(t, err)
	defer router.Close()
	check(t, onlyCapabilities(t, nil, func() error {
		maps := router.Maps()
		if err := maps.WriteSlot(0, goodConfig().Encode()); err != nil {
			return err
		}
		if err := maps.WriteActive(bpf.Active{LeaseUntil: never}); err != nil {
			return err
		}
		if _, err := maps.Counters(); err != nil {
			return err
		}
		if err := maps.PutRoute(keyNumber(1), 1); err != nil {
			return err
		}
		if _, err := maps.Routes(); err != nil {
			return err
		}
		if err := maps.SetExpiry(1, never); err != nil {
			return err
		}
		if on, err := attachment.Attached(); err != nil || !on {
			return errors.Join(err, errors.New("not attached"))
		}
		return attachment.Detach()
	}))
}

// subtractsPointers is what the router must not do: it gives a frame's length.
var subtractsPointers = &ebpf.ProgramSpec{
	Type: ebpf.XDP, License: "GPL",
	Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R0, asm.R1, 4, asm.Word),
		asm.Sub.Reg(asm.R0, asm.R2),
		asm.Return(),
	},
}
