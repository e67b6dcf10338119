// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// retry repeats a call that a signal interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

func openFD(dirfd int, name string, flags int, mode uint32) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode) })
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

func openAt(dirfd int, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := openFD(dirfd, name, flags, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openDirAt opens a directory, never through a symbolic link.
func openDirAt(dirfd int, name string) (*os.File, error) {
	return openAt(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// closeFD drops a descriptor that was only read through.
func closeFD(fd int) { _ = unix.Close(fd) }

func statAt(dirfd int, name string) (st unix.Stat_t, err error) {
	_, err = retry(func() (struct{}, error) {
		return struct{}{}, unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		err = &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return st, err
}

func exists(dirfd int, name string) (bool, error) {
	_, err := statAt(dirfd, name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// mkdirAt makes a directory for its owner only.
func mkdirAt(dirfd int, name string) error {
	if err := unix.Mkdirat(dirfd, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	return nil
}

func unlinkAt(dirfd int, name string, flags int) error {
	if err := unix.Unlinkat(dirfd, name, flags); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unlink", Path: name, Err: err}
	}
	return nil
}

// renameNew renames, never over something. File systems that do not know
// RENAME_NOREPLACE answer EINVAL, old kernels ENOSYS.
func renameNew(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if _, statErr := statAt(toDir, to); errors.Is(statErr, os.ErrNotExist) {
			err = unix.Renameat(fromDir, from, toDir, to)
		} else {
			err = unix.EEXIST
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

const tempSuffix = ".tmp"

// writeFile replaces a file of the directory as a whole, durably: whoever reads
// it after a power cut finds the old content or the new one.
func writeFile(dir *os.File, name string, data []byte) error {
	temp := name + tempSuffix
	if err := unlinkAt(int(dir.Fd()), temp, 0); err != nil { // what a power cut left
		return err
	}
	f, err := openAt(int(dir.Fd()), temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		if err = unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), name); err == nil {
			return dir.Sync()
		}
		err = &os.LinkError{Op: "rename", Old: temp, New: name, Err: err}
	}
	return errors.Join(err, unlinkAt(int(dir.Fd()), temp, 0))
}

// openParent opens the directory that a path is in, and returns the path's last
// component.
func openParent(path string) (*os.File, string, error) {
	path = filepath.Clean(path)
	name := filepath.Base(path)
	if name == "/" || name == "." || name == ".." {
		return nil, "", fmt.Errorf("%q names no directory in another one: %w", path, unix.EINVAL)
	}
	dir, err := openAt(unix.AT_FDCWD, filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return dir, name, err
}

// openBeneath opens the directory rel below another one and follows no symbolic
// link: a component at a time, for kernels without openat2, and for paths of any
// length.
func openBeneath(dirfd int, rel string) (int, error) {
	fd, err := openFD(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for name := range strings.SplitSeq(rel, "/") {
		if err != nil {
			return -1, err
		}
		if name == "." || name == "" {
			continue
		}
		next, nextErr := openFD(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		closeFD(fd)
		fd, err = next, nextErr
	}
	return fd, err
}

// growing makes room for what a call returns. A file system without extended
// attributes has none.
func growing(call func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 1<<10)
	for {
		n, err := retry(func() (int, error) { return call(buf) })
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 64<<10:
			buf = make([]byte, 64<<10) // XATTR_SIZE_MAX, XATTR_LIST_MAX
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		default:
			return nil, err
		}
	}
}

// ofOverlay says whether an attribute is a mark of overlayfs.
func ofOverlay(xattr string) bool {
	return strings.HasPrefix(xattr, "trusted.overlay.") || strings.HasPrefix(xattr, "user.overlay.")
}

// sequence finds a name that a directory does not have: NSUFFIX, from 1 on.
func sequence(dirfd int, suffix string) (string, error) {
	for n := 1; ; n++ {
		name := strconv.Itoa(n)
		taken := false
		for _, s := range []string{"", ".wipe"} {
			found, err := exists(dirfd, name+s)
			if err != nil {
				return "", err
			}
			taken = taken || found
		}
		if !taken {
			return name + suffix, nil
		}
	}
}
