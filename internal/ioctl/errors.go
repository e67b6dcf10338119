// SPDX-License-Identifier: Apache-2.0

package ioctl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The errnos that a caller decides on, by errors.Is. Beyond these,
// errors.Is(err, os.ErrNotExist) holds for a missing parent (ENOENT) and
// errors.Is(err, os.ErrPermission) for EPERM and EACCES.
const (
	ErrNoIoctl     = unix.ENOTTY     // this kernel has no such ioctl: fall back
	ErrInvalid     = unix.EINVAL     // malformed path, or a flag this kernel does not know
	ErrOtherFS     = unix.EXDEV      // the path is not on this overlay
	ErrNothing     = unix.EEXIST     // no whiteout there: a real upper entry, or none
	ErrNoLower     = unix.ENODATA    // no lower entry shows through
	ErrIsDirectory = unix.EISDIR     // DiscardUpper on a directory
	ErrBusy        = unix.EBUSY      // a mount point, or a live index
	ErrStale       = unix.ESTALE     // the upper changed while the kernel looked
	ErrRefused     = unix.EOPNOTSUPP // refused by rule, see the kernel's documentation
	ErrReadOnly    = unix.EROFS      // no upper layer, or read-only
)

// Error is a refused or failed call.
type Error struct {
	Op    string // name of the ioctl
	Path  string // as it was handed in
	Errno unix.Errno
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s %q: %s (%s)", e.Op, e.Path, ErrnoName(e.Errno), e.Errno.Error())
}

// Unwrap returns the errno, so that errors.Is compares with the constants
// above, with os.ErrNotExist and with os.ErrPermission.
func (e *Error) Unwrap() error { return e.Errno }

// ErrnoName gives an errno its name in the kernel's documentation. Of the two
// that 95 has, package unix prefers the one that file systems do not use.
func ErrnoName(errno unix.Errno) string {
	if errno == unix.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(errno)
}
