// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fitrim is FITRIM of linux/fs.h, _IOWR('X', 121, struct fstrim_range): the same
// number on every architecture.
const fitrim = 0xc0185879

// fstrimRange is struct fstrim_range.
type fstrimRange struct{ start, length, minLength uint64 }

// trim tells the disk what is free, once after each reset.
func (c *cleaner) trim() error {
	dir := c.place.dir
	due, err := exists(int(dir.Fd()), fileTrim)
	if err != nil || !due {
		return err
	}
	if left, err := exists(int(dir.Fd()), dirOld); err != nil || left {
		return err
	}
	if err := c.discard(dir); err != nil {
		return err
	}
	if err := unlinkAt(int(dir.Fd()), fileTrim, 0); err != nil {
		return err
	}
	return errors.Join(dir.Sync())
}

// discard tells the disk that dir is on.
func (c *cleaner) discard(dir *os.File) error {
	// What was removed is free when the removal is on disk.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync the file system: %w", err)
	}
	r := fstrimRange{length: math.MaxUint64}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fitrim, uintptr(unsafe.Pointer(&r)))
	switch errno {
	case 0:
		c.Discarded += int64(r.length) // the kernel's answer
	case unix.EOPNOTSUPP, unix.ENOTTY, unix.EPERM, unix.EROFS:
		if c.opts.Note != nil {
			c.opts.Note("the disk or its file system knows no discard: what was removed is free, but may still be read from the bare disk")
		}
	default:
		return fmt.Errorf("discard what is free (FITRIM): %w", errno)
	}
	return nil
}
