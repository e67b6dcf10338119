// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyFile copies a kept file that cannot be linked, with all that belongs to
// it: content, owner, mode, extended attributes, times, and chattr's flags.
func copyFile(e *kept, dir int) (err error) {
	if e.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("it is no regular file, and cannot be linked: %w", unix.EPERM)
	}
	from, err := openAt(e.dir, e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := openAt(dir, e.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := copyAttributes(int(from.Fd()), int(to.Fd())); err != nil {
		return err
	}
	if err := setTimes(&e.stat, dir, e.name); err != nil {
		return err
	}
	return copyFlags(from, to)
}

// copyFlags makes the copy as immutable as the original is.
func copyFlags(from, to *os.File) error {
	flags, err := unix.IoctlGetUint32(int(from.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&(flagImmutable|flagAppendOnly) == 0 {
		return nil //nolint:nilerr // a file system without flags
	}
	has, err := unix.IoctlGetUint32(int(to.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = setFlags(int(to.Fd()), has|flags&(flagImmutable|flagAppendOnly))
	}
	return err
}

func setFlags(fd int, flags uint32) error {
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags)); err != nil {
		return fmt.Errorf("set the flags: %w", err)
	}
	return nil
}
