// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of a walk, on names that are bytes with a NUL behind them: a walk
// makes a million of them, and a string for each would be most of its garbage.

// statName is lstatAt for a dirent's name.
func statName(dirfd int, name []byte, st *unix.Stat_t) (err error) {
	if sysFstatat == 0 {
		*st, err = lstatAt(dirfd, string(name))
		return err
	}
	for {
		_, _, errno := unix.Syscall6(sysFstatat, uintptr(dirfd), uintptr(unsafe.Pointer(unsafe.SliceData(name))),
			uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// sysListxattrat has that number on every architecture.
const sysListxattrat = 465

// noListxattrat remembers that listxattrat(2) is missing, as it is before Linux
// 6.13, or hidden by a seccomp filter.
var noListxattrat atomic.Bool

// listXattrs lists the extended attributes of a name, each with a NUL behind it,
// into *buf, which it may enlarge.
func listXattrs(dirfd int, name []byte, buf *[]byte) ([]byte, error) {
	return growing(buf, func(b []byte) (int, error) {
		if !noListxattrat.Load() {
			n, _, errno := unix.Syscall6(sysListxattrat, uintptr(dirfd), uintptr(unsafe.Pointer(unsafe.SliceData(name))),
				unix.AT_SYMLINK_NOFOLLOW, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
			switch errno {
			case 0:
				return int(n), nil
			case unix.ENOSYS, unix.EPERM: // listing is never a matter of permission
				noListxattrat.Store(true)
			default:
				return 0, errno
			}
		}
		return unix.Llistxattr(procPath(dirfd)+"/"+string(name), b)
	})
}

// listXattrsOf is listXattrs for an open file.
func listXattrsOf(fd int, buf *[]byte) ([]byte, error) {
	return growing(buf, func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
}

// growing repeats call with a larger buffer when it says ERANGE. A file system
// without extended attributes has an empty list.
func growing(buf *[]byte, call func([]byte) (int, error)) ([]byte, error) {
	for {
		if len(*buf) == 0 {
			*buf = make([]byte, 1<<10)
		}
		n, err := retryEINTR(func() (int, error) { return call(*buf) })
		switch {
		case err == nil:
			return (*buf)[:n], nil
		case errors.Is(err, unix.ERANGE) && len(*buf) < 64<<10: // XATTR_LIST_MAX
			*buf = make([]byte, 64<<10)
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		default:
			return nil, err
		}
	}
}

// listHas says whether a list of attributes has prefix+key.
func listHas(list []byte, prefix, key string) bool {
	for len(list) > 0 {
		var name string
		name, list = cutName(list)
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest == key {
			return true
		}
	}
	return false
}

// cutName takes the first name off a list; it is valid as long as the list.
func cutName(list []byte) (name string, rest []byte) {
	for i, c := range list {
		if c == 0 {
			return unsafe.String(unsafe.SliceData(list), i), list[i+1:]
		}
	}
	return unsafe.String(unsafe.SliceData(list), len(list)), nil
}
