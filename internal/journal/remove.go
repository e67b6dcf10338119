// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// removeTree removes what is at dir/name, whatever it is, and all that is below
// it. However deep a tree is, a few descriptors do: directories that are not empty
// are first moved to the top. Cut off, it is begun anew by the next call.
func removeTree(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	top, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(emptyTree(top), top.Close()); err != nil {
		return err
	}
	return unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
}

// emptyTree removes all that is in a directory.
func emptyTree(top *os.File) error {
	for n := 0; ; {
		names, err := rereadNames(top)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			err := unix.Unlinkat(int(top.Fd()), name, 0)
			if errors.Is(err, unix.EISDIR) {
				if err = unix.Unlinkat(int(top.Fd()), name, unix.AT_REMOVEDIR); errors.Is(err, unix.ENOTEMPTY) {
					err = lift(top, name, &n)
				}
			}
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
}

// lift moves the directories that are in top/name to top, removes the rest of it,
// and itself.
func lift(top *os.File, name string, n *int) error {
	d, err := openAt(top, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, child := range names {
		err := unix.Unlinkat(int(d.Fd()), child, 0)
		if errors.Is(err, unix.EISDIR) {
			if err = unix.Unlinkat(int(d.Fd()), child, unix.AT_REMOVEDIR); errors.Is(err, unix.ENOTEMPTY) {
				err = liftOne(top, d, child, n)
			}
		}
		if err != nil {
			return err
		}
	}
	return unix.Unlinkat(int(top.Fd()), name, unix.AT_REMOVEDIR)
}

// liftOne gives a directory a name that is free in top.
func liftOne(top, d *os.File, child string, n *int) error {
	for {
		*n++
		err := unix.Renameat2(int(d.Fd()), child, int(top.Fd()), ".lifted-"+strconv.Itoa(*n), unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) { // not known there; over a full directory it fails
			err = unix.Renameat(int(d.Fd()), child, int(top.Fd()), ".lifted-"+strconv.Itoa(*n))
		}
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
}

func rereadNames(dir *os.File) ([]string, error) {
	again, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = again.Close() }()
	return again.Readdirnames(-1)
}
