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
	s := originScan{
		layers:  r.layers(),
		wanted:  map[string]*job{},
		paths:   map[string]*job{},
		dropped: map[string]bool{},
	}
	for _, j := range jobs {
		if j.Action == ActDiscard || j.Action == ActRemove {
			s.dropped[j.rel] = true
		}
		if j.settled() || j.Action != ActRestore && j.Action != ActDiscard || j.Method == MethodIoctl && r.askKernel() == contractCurrent {
			continue
		}
		if j.low == nil {
			continue // nothing to confuse, as far as can be seen
		}
		if conflict := r.indexConflict(*j.low); conflict != nil {
			if conflict.Final || !r.opts.Force {
				j.fail(conflict)
			}
			continue
		}
		if !r.opts.Force {
			s.want(j, r.handleOf(*j.low))
		}
	}
	r.forget()
	if len(s.wanted) == 0 && len(s.paths) == 0 {
		return nil
	}
	return s.run(ctx)
}

// want looks for other entries that come from the one below a job. A copy of a
// file with several links has broken with its origin, and shares nothing with it.
func (s *originScan) want(j *job, handle string) {
	switch {
	case j.low.isDir():
		s.paths[j.rel] = j
	case j.low.stat.Nlink > 1:
		return
	}
	if handle != "" {
		s.wanted[handle] = j
	}
}

// indexConflict applies the rules for overlays that keep an index.
func (r *restorer) indexConflict(low lowerEntry) *ConflictError {
	switch {
	case r.Mount.Config.NFSExport:
		return &ConflictError{
			Reason: "the overlay is mounted with nfs_export=on: its index says that the entry was deleted, and would make it unreadable",
			Final:  true,
		}
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
	return handleAt(fd, name)
}

func handleAt(dir int, name string) string {
	handle, _, err := unix.NameToHandleAt(dir, name, 0)
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

// originScan walks the upper once and fails every job whose lower entry is the
// origin of an upper entry elsewhere.
type originScan struct {
	layers  *Layers
	wanted  map[string]*job // by file handle of the lower entry
	paths   map[string]*job // the directories among them, by path
	dropped map[string]bool // upper entries that go in the same call
}

func (s *originScan) run(ctx context.Context) error {
	todo := []string{"."}
	for len(todo) > 0 {
		rel := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if ctx.Err() != nil {
			return errInterrupted
		}
		fd, err := openBeneath(s.layers.upper.fd(), rel, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			continue // removed since
		}
		if err != nil {
			return fmt.Errorf("open %q in the upper: %w", rel, err)
		}
		dirs, err := s.dir(fd, rel)
		closeFD(fd)
		if err != nil {
			return fmt.Errorf("look for the origins of renamed entries in %q: %w", rel, err)
		}
		todo = append(todo, dirs...)
	}
	return nil
}

// dir looks at the entries of one upper directory and returns those to descend
// into.
func (s *originScan) dir(fd int, rel string) (dirs []string, err error) {
	names, err := readNames(fd)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		at := joinRel(rel, name)
		if s.dropped[at] {
			continue
		}
		st, err := lstatAt(fd, name)
		if errors.Is(err, unix.ENOENT) || err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
			continue
		}
		if err == nil {
			err = s.origin(fd, name, at)
		}
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			dirs = append(dirs, at)
			err = s.redirect(fd, name, rel, at)
		}
		if err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func (s *originScan) origin(fd int, name, at string) error {
	value, err := s.layers.xattr(fd, name, xattrOrigin)
	if j := s.wanted[originKey(value)]; j != nil && j.rel != at {
		j.fail(&ConflictError{Reason: "its lower entry lives on under another name", Other: at})
	}
	return err
}

func (s *originScan) redirect(fd int, name, rel, at string) error {
	if len(s.paths) == 0 {
		return nil
	}
	value, err := s.layers.xattr(fd, name, xattrRedirect)
	if err != nil || len(value) == 0 {
		return err
	}
	from := joinRel(rel, string(value))
	if bytes.HasPrefix(value, []byte("/")) {
		from = strings.TrimPrefix(string(value), "/")
	}
	if j := s.paths[from]; j != nil && j.rel != at {
		j.fail(&ConflictError{Reason: "its lower directory was renamed, and is merged there", Other: at})
	}
	return nil
}
