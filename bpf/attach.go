// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkPin is the name of the link's pin, beside the maps'.
const linkPin = "link"

// Mode is where in the receive path a program runs.
type Mode string

// The modes. In Native the driver runs it; in Generic the kernel does, later
// and slower, on any device.
const (
	Native  Mode = "native"
	Generic Mode = "generic"
)

func (m Mode) flags() (link.XDPAttachFlags, error) {
	switch m {
	case Native:
		return link.XDPDriverMode, nil
	case Generic:
		return link.XDPGenericMode, nil
	}
	return 0, fmt.Errorf("mode %q: want %s or %s", string(m), Native, Generic)
}

// Attachment is a router on an interface, held by a BPF link: when the last
// holder of the link goes, and it is not pinned, the interface is free.
type Attachment struct {
	link   link.Link
	dir    string // where Pin put it
	own    ebpf.ProgramID
	ownTag string
}

// AttachmentInfo is what the kernel says of an attachment.
type AttachmentInfo struct {
	LinkID     uint32
	ProgramID  uint32
	ProgramTag string // "" where another's program holds it and we may not look
	Ifindex    int    // 0: detached, by someone else or with its interface
	Mode       Mode
}

// Attach puts the router in front of an interface, and reads back that it is
// there. The error matches unix.EBUSY where another program is, and
// unix.EOPNOTSUPP (or EINVAL) where the driver cannot run it natively, be it
// for the MTU.
func (r *Router) Attach(ifindex int, mode Mode) (*Attachment, error) {
	flags, err := mode.flags()
	if err != nil {
		return nil, fmt.Errorf("attach the router: %w", err)
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: r.program, Interface: ifindex, Flags: flags})
	switch {
	case errors.Is(err, unix.EBUSY):
		err = fmt.Errorf("%w: another XDP program is there, see bpftool net show", err)
	case errors.Is(err, unix.ENODEV):
		err = fmt.Errorf("%w: there is no such interface", err)
	}
	if err != nil {
		return nil, fmt.Errorf("attach the router to interface %d in %s mode: %w", ifindex, mode, err)
	}
	a := &Attachment{link: l, own: r.id, ownTag: r.tag}
	if err := r.verify(a, ifindex, mode); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// AdoptLink takes over the link pinned in dir and makes it run this router
// instead of its present program: no frame passes between the two. The
// interface and the mode stay as they are; if they are others than asked for,
// nothing is changed.
//
// The error matches fs.ErrNotExist where no link is pinned.
func (r *Router) AdoptLink(dir string, ifindex int, mode Mode) (*Attachment, error) {
	path := filepath.Join(dir, linkPin)
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return nil, fmt.Errorf("open the pinned link %s: %w", path, err)
	}
	a := &Attachment{link: l, dir: dir, own: r.id, ownTag: r.tag}
	was, err := a.Info()
	if err == nil && (was.Ifindex != ifindex || was.Mode != mode) {
		err = fmt.Errorf("it is on interface %d in %q mode, not on %d in %q mode", was.Ifindex, was.Mode, ifindex, mode)
	}
	if err == nil {
		err = l.Update(r.program)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("adopt the pinned link %s: %w", path, err), a.Close())
	}
	if err := r.verify(a, ifindex, mode); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// verify reads back what the link holds.
func (r *Router) verify(a *Attachment, ifindex int, mode Mode) error {
	info, err := a.Info()
	if err != nil {
		return err
	}
	want := AttachmentInfo{info.LinkID, r.ProgramID(), r.tag, ifindex, mode}
	if info != want {
		return fmt.Errorf("attach the router to interface %d: the kernel holds %+v, want %+v", ifindex, info, want)
	}
	return nil
}

// Info asks the kernel. Nothing of it is remembered from Attach.
func (a *Attachment) Info() (AttachmentInfo, error) {
	info, err := a.link.Info()
	if err != nil {
		return AttachmentInfo{}, fmt.Errorf("read back the XDP link: %w", err)
	}
	xdp := info.XDP()
	if xdp == nil {
		return AttachmentInfo{}, fmt.Errorf("read back the XDP link: link %d is of another type", info.ID)
	}
	out := AttachmentInfo{LinkID: uint32(info.ID), ProgramID: uint32(info.Program), Ifindex: int(xdp.Ifindex)}
	if out.ProgramTag, err = a.programTag(info.Program); err != nil {
		return AttachmentInfo{}, err
	}
	if out.Ifindex != 0 {
		if out.Mode, err = attachedMode(out.Ifindex, out.ProgramID); err != nil {
			return AttachmentInfo{}, err
		}
	}
	return out, nil
}

// Attached asks the kernel whether the link still is on an interface: someone
// else may have detached it, or the interface be gone.
func (a *Attachment) Attached() (bool, error) {
	info, err := a.link.Info()
	if err != nil {
		return false, fmt.Errorf("read back the XDP link: %w", err)
	}
	xdp := info.XDP()
	return xdp != nil && xdp.Ifindex != 0, nil
}

// Pin puts the link into dir, on a bpffs, beside the maps: it then outlives the
// process.
func (a *Attachment) Pin(dir string) error {
	if err := a.link.Pin(filepath.Join(dir, linkPin)); err != nil {
		return fmt.Errorf("pin the XDP link in %s: %w", dir, err)
	}
	a.dir = dir
	return nil
}

// Detach frees the interface, whoever else holds the link, and removes its pin.
func (a *Attachment) Detach() error {
	err := a.link.Detach()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		err = nil // it was off already, or its interface is gone
	}
	if err != nil {
		err = fmt.Errorf("detach the router: %w", err)
	}
	if a.dir != "" {
		if e := os.Remove(filepath.Join(a.dir, linkPin)); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove the XDP link's pin: %w", e))
		}
	}
	return errors.Join(err, a.link.Close())
}

// Close lets go of the link: it ends unless it is pinned.
func (a *Attachment) Close() error { return a.link.Close() }

// programTag is the tag of the program that the link holds. Our own we know:
// its number is taken as long as we hold it. To open another's by its number
// takes CAP_SYS_ADMIN; without, the number must do.
func (a *Attachment) programTag(id ebpf.ProgramID) (string, error) {
	switch id {
	case 0:
		return "", nil
	case a.own:
		return a.ownTag, nil
	}
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read back the attached program %d: %w", id, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", fmt.Errorf("read back the attached program %d: %w", id, err)
	}
	return info.Tag, nil
}

// attachedMode asks the interface where it runs a program: links do not tell.
func attachedMode(ifindex int, program uint32) (Mode, error) {
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return "", fmt.Errorf("ask interface %d for its XDP program: %w", ifindex, err)
	}
	xdp := l.Attrs().Xdp
	switch {
	case xdp == nil || !xdp.Attached || xdp.ProgId != program:
		return "", fmt.Errorf("interface %d does not run program %d", ifindex, program)
	case xdp.AttachMode == nl.XDP_ATTACHED_DRV:
		return Native, nil
	case xdp.AttachMode == nl.XDP_ATTACHED_SKB:
		return Generic, nil
	}
	return "", fmt.Errorf("interface %d runs program %d in mode %d", ifindex, program, xdp.AttachMode)
}
