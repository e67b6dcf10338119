// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// copyAttributes gives a new directory or file the owner, mode and extended
// attributes of another one, but for the marks of overlayfs.
func copyAttributes(from, to int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return &os.PathError{Op: "stat", Path: ".", Err: err}
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("set the owner: %w", err)
	}
	// After the owner, which takes set-id bits away.
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return fmt.Errorf("set the mode: %w", err)
	}
	list, err := growing(func(b []byte) (int, error) { return unix.Flistxattr(from, b) })
	if err != nil {
		return fmt.Errorf("list the extended attributes: %w", err)
	}
	for len(list) > 0 {
		var raw []byte
		raw, list = cutNUL(list)
		name := string(raw)
		if ofOverlay(name) {
			continue
		}
		value, err := growing(func(b []byte) (int, error) { return unix.Fgetxattr(from, name, b) })
		if errors.Is(err, unix.ENODATA) { // gone, or not ours to see
			continue
		}
		if err == nil {
			err = unix.Fsetxattr(to, name, value, 0)
		}
		if err != nil {
			return fmt.Errorf("copy the extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// setTimes gives a name in a directory the times of another file; "." is the
// directory itself.
func setTimes(st *unix.Stat_t, dirfd int, name string) error {
	if err := unix.UtimesNanoAt(dirfd, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set the times of", Path: name, Err: err}
	}
	return nil
}

// Flags of FS_IOC_GETFLAGS, as chattr(1) sets them.
const (
	flagImmutable  = 0x10
	flagAppendOnly = 0x20
)

// held says whether chattr(1) keeps a directory from being renamed.
func held(fd int) bool {
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	return err == nil && flags&(flagImmutable|flagAppendOnly) != 0
}

// isMountPoint says whether something is mounted on a directory, open as fd in
// its parent. Kernels before 5.8 tell only where it is another file system.
func isMountPoint(parent, fd int) bool {
	var stx unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &stx)
	if err == nil && stx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return stx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	var above, dir unix.Stat_t
	return unix.Fstat(parent, &above) == nil && unix.Fstat(fd, &dir) == nil && above.Dev != dir.Dev
}
