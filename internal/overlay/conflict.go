// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// refuseConflicts fails the jobs that would confuse a kernel without the ioctl:
// it knows an entry by the lower inode it came from, and a file that was copied
// up and renamed, or hard-linked, still carries that inode as its origin. With
// the lower entry back under its old name, the two would share one overlay
// inode: writes to one reach the other, or one of them becomes ESTALE.
func (r *restorer) refuseConflicts(ctx context.Context, jobs []*job) error {
	wanted := map[string]*job{} // by file handle of the lower entry
	paths := map[string]*job{}  // directories, by path
	for _, j := range jobs {
		if j.settled() || j.Action != ActRestore && j.Action != ActDiscard || j.Method == MethodIoctl && r.askKernel() == contractCurrent {
			continue
		}
		if j.low == nil {
			continue // nothing to confuse, as far as can be seen
		}
		low := *j.low
		if conflict := r.indexConflict(low); conflict != nil {
			j.fail(conflict)
			continue
		}
		if key := r.handleOf(low); key != "" {
			wanted[key] = j
		}
		if low.isDir() {
			paths[j.rel] = j
		}
	}
	r.forget()
	if len(wanted) == 0 && len(paths) == 0 {
		return nil
	}
	return r.scanOrigins(ctx, wanted, paths)
}

// indexConflict applies the rules for overlays that keep an index.
func (r *restorer) indexConflict(low lowerEntry) *ConflictError {
	switch {
	case r.Mount.Config.NFSExport:
		return &ConflictError{Reason: "the overlay is mounted with nfs_export=on, whose index would go stale"}
	case r.Mount.Config.Index && !low.isDir() && low.stat.Nlink > 1:
		return &ConflictError{Reason: "the lower entry is hard-linked and the overlay is mounted with index=on, whose link count would go wrong"}
	}
	return nil
}

// handleOf names a lower inode as the overlay's origin xattrs do: by its file
// handle. "" where the file system has none; no origin can name it then.
func (r *restorer) handleOf(low lowerEntry) string {
	dir, name := splitRel(low.rel)
	fd, err := openBeneath(r.layers().lowers[low.layer].fd(), dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return ""
	}
	defer closeFD(fd)
	handle, _, err := unix.NameToHandleAt(fd, name, 0)
	if err != nil {
		return ""
	}
	return handleKey(byte(handle.Type()), handle.Bytes())
}

func handleKey(kind byte, fid []byte) string { return string(kind) + string(fid) }

// Offsets in the value of the origin xattr, struct ovl_fb of the kernel's
// fs/overlayfs/overlayfs.h.
const (
	fbMagic  = 1 // 0xfb
	fbType   = 4
	fbHeader = 21 // version, magic, len, flags, type, 16 bytes of uuid
)

// originKey reads an origin xattr; "" for one that names nothing.
func originKey(value []byte) string {
	if len(value) <= fbHeader || value[fbMagic] != 0xfb {
		return ""
	}
	return handleKey(value[fbType], value[fbHeader:])
}

// scanOrigins walks the upper once and fails every job whose lower entry is the
// origin of an upper entry elsewhere.
func (r *restorer) scanOrigins(ctx context.Context, wanted, paths map[string]*job) error {
	layers := r.layers()
	todo := []string{"."}
	for len(todo) > 0 {
		rel := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if ctx.Err() != nil {
			return errInterrupted
		}
		fd, err := openBeneath(layers.upper.fd(), rel, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			continue // removed since
		}
		if err != nil {
			return fmt.Errorf("open %q in the upper: %w", rel, err)
		}
		dirs, err := scanDir(layers, fd, rel, wanted, paths)
		closeFD(fd)
		if err != nil {
			return fmt.Errorf("look for the origins of renamed entries in %q: %w", rel, err)
		}
		todo = append(todo, dirs...)
	}
	return nil
}

func scanDir(layers *Layers, fd int, rel string, wanted, paths map[string]*job) (dirs []string, err error) {
	names, err := readNames(fd)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		st, err := lstatAt(fd, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
			continue
		}
		at := joinRel(rel, name)
		origin, err := layers.xattr(fd, name, xattrOrigin)
		if err != nil {
			return nil, err
		}
		if j := wanted[originKey(origin)]; j != nil && j.rel != at {
			j.fail(&ConflictError{Reason: "its lower entry lives on under another name", Other: at})
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		dirs = append(dirs, at)
		if err := scanRedirect(layers, fd, rel, name, paths); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func scanRedirect(layers *Layers, fd int, rel, name string, paths map[string]*job) error {
	if len(paths) == 0 {
		return nil
	}
	value, err := layers.xattr(fd, name, xattrRedirect)
	if err != nil || len(value) == 0 {
		return err
	}
	from := joinRel(rel, string(value))
	if bytes.HasPrefix(value, []byte("/")) {
		from = strings.TrimPrefix(string(value), "/")
	}
	if j := paths[from]; j != nil && j.rel != joinRel(rel, name) {
		j.fail(&ConflictError{Reason: "its lower directory was renamed, and is merged there", Other: joinRel(rel, name)})
	}
	return nil
}
