// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// copyFile copies a kept file that cannot be linked, with all that belongs to
// it: content, owner, mode, extended attributes, times, and chattr's flags. A name
// of what was copied already becomes a link to that.
func (s *stager) copyFile(e *kept, dir int) (err error) {
	if rel, done := s.copied[e.stat.Ino]; done {
		if err := unix.Linkat(int(s.fresh.Fd()), rel, dir, e.name, 0); err == nil {
			return nil // else one of too long a path, or one that is immutable
		}
	}
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
	content := from
	if e.content != "" {
		if content, err = s.openContent(e); err != nil {
			return err
		}
		defer func() { _ = content.Close() }()
	}
	if _, err := io.Copy(to, content); err != nil {
		return err
	}
	if err := copyAttributes(int(from.Fd()), int(to.Fd())); err != nil {
		return err
	}
	if err := setTimes(&e.stat, dir, e.name); err != nil {
		return err
	}
	if e.stat.Nlink > 1 {
		if s.copied == nil {
			s.copied = map[uint64]string{}
		}
		s.copied[e.stat.Ino] = e.rel
	}
	return copyFlags(from, to)
}

// errNoContent: a metacopy's content is not where it should be.
var errNoContent = errors.New("its content is the image's, and is not found there: name all lowers")

// openContent opens the file of the image that has a metacopy's content.
func (s *stager) openContent(e *kept) (*os.File, error) {
	for _, lower := range s.lowers {
		dir, err := openBeneath(lower, path.Dir(e.content))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		image := kept{dir: dir, name: path.Base(e.content)}
		f, err := image.open(e.stat.Size)
		closeFD(dir)
		if f != nil || err != nil {
			return f, err
		}
	}
	return nil, errNoContent
}

// open opens a file of a lower for its content: nil where there is none, or where
// that is further down.
func (e *kept) open(size int64) (*os.File, error) {
	var err error
	if e.stat, err = statAt(e.dir, e.name); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	marks, err := e.marks()
	switch {
	case err != nil:
		return nil, err
	case marks.metacopy:
		return nil, nil
	case e.stat.Mode&unix.S_IFMT != unix.S_IFREG || e.stat.Size != size || marks.whiteout:
		return nil, errNoContent
	}
	return openAt(e.dir, e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
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
