// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf/link"
)

// PinnedLink reads what the link holds that a relay pinned in dir, without
// taking it over. The error matches fs.ErrNotExist where none is pinned.
func PinnedLink(dir string) (AttachmentInfo, error) {
	path := filepath.Join(dir, linkPin)
	// Not read-only: the kernel opens links for reading and writing or not at all
	// (bpf_obj_get_user in kernel/bpf/inode.c).
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return AttachmentInfo{}, fmt.Errorf("open the pinned link %s: %w", path, err)
	}
	defer l.Close()
	return (&Attachment{link: l}).Info()
}
