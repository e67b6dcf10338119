// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// copyTree copies what is at from/name, with all that is below it, to to/toName:
// content with its holes, hard links among what is copied, devices, owners, modes,
// times and all extended attributes. What it cannot copy is an error.
func copyTree(from *os.File, name string, to *os.File, toName string) error {
	c := &copier{to: to, top: toName, links: map[uint64]string{}}
	if err := walkTree(from, name, c.copy); err != nil {
		return err
	}
	// The deepest first: a directory's times are the last of it.
	for i := len(c.dirs) - 1; i >= 0; i-- {
		d := &c.dirs[i]
		dir, base, err := c.parent(d.rel)
		if err == nil {
			err = errors.Join(d.attr.write(dir, base, true), dir.Close())
		}
		if err != nil {
			return fmt.Errorf("%q: %w", d.rel, err)
		}
	}
	return nil
}

type copier struct {
	to    *os.File
	top   string
	links map[uint64]string // inodes with several names: where they were copied to
	dirs  []copiedDir
}

type copiedDir struct {
	rel  string
	attr *attributes
}

// parent opens the directory that an entry is copied into.
func (c *copier) parent(rel string) (dir *os.File, name string, err error) {
	parent, name := split(join(c.top, rel))
	dir, err = overlay.OpenBeneath(c.to, parent, unix.O_RDONLY|unix.O_DIRECTORY)
	return dir, name, err
}

func (c *copier) copy(n *node) error {
	dir, name, err := c.parent(n.rel)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := c.copyOne(n, dir, name); err != nil {
		return fmt.Errorf("copy %q: %w", n.rel, err)
	}
	return nil
}

func (c *copier) copyOne(n *node, dir *os.File, name string) error {
	fd := int(dir.Fd())
	if !n.isDir() && n.stat.Nlink > 1 {
		if first, ok := c.links[n.stat.Ino]; ok {
			other, otherName, err := c.parent(first)
			if err != nil {
				return err
			}
			defer func() { _ = other.Close() }()
			return unix.Linkat(int(other.Fd()), otherName, fd, name, 0)
		}
		c.links[n.stat.Ino] = n.rel
	}
	attr, err := readAttributes(n.dir, n.name)
	if err != nil {
		return err
	}
	switch attr.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		c.dirs = append(c.dirs, copiedDir{n.rel, attr})
		return unix.Mkdirat(fd, name, 0o700)
	case unix.S_IFREG:
		err = copyFile(n.dir, n.name, dir, name)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(procPath(n.dir, n.name)); err == nil {
			err = unix.Symlinkat(target, fd, name)
		}
	default:
		err = unix.Mknodat(fd, name, attr.Mode&unix.S_IFMT|0o600, int(n.stat.Rdev))
	}
	if err != nil {
		return err
	}
	return attr.write(dir, name, true)
}

// copyFile copies the content of a regular file; holes stay holes.
func copyFile(from *os.File, fromName string, to *os.File, toName string) error {
	src, err := openAt(from, fromName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := openAt(to, toName, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = copyData(src, dst, info.Size())
	if err == nil {
		err = dst.Truncate(info.Size())
	}
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}

func copyData(src, dst *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, end, err := nextData(src, at, size)
		if err != nil || data < 0 {
			return err
		}
		if _, err := src.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(dst, src, end-data); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// nextData finds the next part of a file that is no hole; data is negative where
// there is none. What cannot tell holes is all data.
func nextData(f *os.File, at, size int64) (data, end int64, err error) {
	data, err = f.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return -1, 0, nil
	case errors.Is(err, unix.EINVAL):
		return at, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = f.Seek(data, unix.SEEK_HOLE)
	return data, min(end, size), err
}

// digestSeed: digests are compared within one process only.
var digestSeed = maphash.MakeSeed()

// digestTree is the same for two trees that differ in nothing that a copy keeps.
func digestTree(dir *os.File, name string) (uint64, error) {
	var sum maphash.Hash
	sum.SetSeed(digestSeed)
	links := map[uint64]string{}
	add := func(s string) {
		var length [8]byte
		binary.LittleEndian.PutUint64(length[:], uint64(len(s)))
		_, _ = sum.Write(length[:]) // a hash takes everything
		_, _ = sum.Write([]byte(s))
	}
	err := walkTree(dir, name, func(n *node) error {
		attr, err := readAttributes(n.dir, n.name)
		if err != nil {
			return err
		}
		add(n.rel)
		add(fmt.Sprint(attr.sum(), attr.Mtime, n.stat.Rdev))
		if !n.isDir() && n.stat.Nlink > 1 {
			first, ok := links[n.stat.Ino]
			if ok {
				add("link to " + first)
				return nil
			}
			links[n.stat.Ino] = n.rel
		}
		switch attr.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			f, err := openAt(n.dir, n.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			size, err := io.Copy(&sum, f)
			add(strconv.FormatInt(size, 10))
			return err
		case unix.S_IFLNK:
			target, err := os.Readlink(procPath(n.dir, n.name))
			add(target)
			return err
		}
		return nil
	})
	return sum.Sum64(), err
}

// errCopyDiffers: what was read back is not what was to be copied.
var errCopyDiffers = fmt.Errorf("the copy is not like the original, which may be in use: %w", unix.ESTALE)

// copyVerified copies a tree, has it on disk, and compares it with the original.
// An earlier attempt is overwritten.
func copyVerified(from *os.File, name string, to *os.File, toName string) error {
	if err := removeTree(to, toName); err != nil {
		return err
	}
	before, err := identify(from, name)
	if err != nil {
		return err
	}
	err = copyTree(from, name, to, toName)
	if err == nil {
		err = unix.Syncfs(int(to.Fd()))
	}
	if err == nil {
		err = sameTrees(from, name, to, toName)
	}
	if err == nil {
		var after identity
		if after, err = identify(from, name); err == nil && after != before {
			err = errCopyDiffers
		}
	}
	if err != nil {
		return errors.Join(err, removeTree(to, toName))
	}
	return nil
}

func sameTrees(a *os.File, aName string, b *os.File, bName string) error {
	first, err := digestTree(a, aName)
	if err != nil {
		return err
	}
	second, err := digestTree(b, bName)
	if err == nil && first != second {
		err = errCopyDiffers
	}
	return err
}
