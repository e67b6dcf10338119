// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// seen is what a user sees of an entry.
type seen struct {
	mode     uint32
	uid, gid uint32
	rdev     uint64
	mtime    unix.Timespec // not of directories
	data     string        // content, or target
	xattrs   string
	linked   bool // has other names; of no interest in itself
}

func (s seen) typ() FileType { return FileType(s.mode & unix.S_IFMT) }
func (s seen) isDir() bool   { return s.typ() == unix.S_IFDIR }

func snapshot(t *testing.T, root string) map[string]seen {
	t.Helper()
	return everyEntry(t, root, look)
}

func look(p string) (seen, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return seen{}, err
	}
	s := seen{mode: st.Mode, uid: st.Uid, gid: st.Gid, linked: st.Nlink > 1}
	switch s.typ() {
	case unix.S_IFREG:
		data, err := os.ReadFile(p)
		if err != nil {
			return s, err
		}
		s.data = string(data)
	case unix.S_IFLNK:
		target, err := os.Readlink(p)
		if err != nil {
			return s, err
		}
		s.data = target
	case unix.S_IFCHR, unix.S_IFBLK:
		s.rdev = st.Rdev
	}
	if !s.isDir() {
		s.mtime = st.Mtim
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return s, err
	}
	names := strings.Split(string(buf[:n]), "\x00")
	slices.Sort(names)
	for _, name := range names {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		n, err := unix.Lgetxattr(p, name, buf)
		if err != nil {
			return s, err
		}
		s.xattrs += fmt.Sprintf("%s=%q ", name, buf[:n])
	}
	return s, nil
}

// mark is what the upper holds at a path.
type mark struct {
	whiteout, dir, opaque bool
	redirect              string
}

func readMarks(t *testing.T, upper, prefix string) map[string]mark {
	t.Helper()
	return everyEntry(t, upper, func(p string) (mark, error) {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return mark{}, err
		}
		typ := st.Mode & unix.S_IFMT
		m := mark{whiteout: typ == unix.S_IFCHR && st.Rdev == 0, dir: typ == unix.S_IFDIR}
		buf := make([]byte, 4096)
		if n, err := unix.Lgetxattr(p, prefix+"opaque", buf); err == nil {
			m.opaque = string(buf[:n]) == "y"
		}
		if n, err := unix.Lgetxattr(p, prefix+"redirect", buf); err == nil {
			m.redirect = string(buf[:n])
		}
		return m, nil
	})
}

// ageAll gives each entry a time of its own in the past, as an image's have:
// what is written from now on has another.
func ageAll(root string) error {
	return filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		past := unix.NsecToTimespec(1e18 + int64(st.Ino)*1e9 + 5)
		times := []unix.Timespec{past, past}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW)
	})
}
