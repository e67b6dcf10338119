// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// pathMax is the kernel's limit for one path argument, its NUL included.
const pathMax = unix.PathMax

// openPath is openat(2) without a limit on the length of path: what is longer
// than PATH_MAX is walked in pieces. Symbolic links are followed, but for a
// last component with O_NOFOLLOW in flags.
func openPath(dirfd int, path string, flags int) (int, error) {
	return inPieces(dirfd, path, flags, func(dirfd int, piece string, flags int) (int, error) {
		return retryEINTR(func() (int, error) {
			return unix.Openat(dirfd, piece, flags|unix.O_CLOEXEC, 0)
		})
	})
}

// openBeneath opens rel, a clean relative path or ".", below the directory
// dirfd. It follows no symbolic link and enters no other mount on the way:
// ELOOP and EXDEV say that there was one.
func openBeneath(dirfd int, rel string, flags int) (int, error) {
	return inPieces(dirfd, rel, flags|unix.O_NOFOLLOW, openPieceBeneath)
}

// inPieces applies open to path, or, where path is too long for one call, to
// piece after piece of it, each a directory but the last.
func inPieces(dirfd int, path string, flags int, open func(int, string, int) (int, error)) (int, error) {
	parent := dirfd
	for len(path) >= pathMax {
		cut := strings.LastIndexByte(path[:pathMax-1], '/')
		if cut <= 0 {
			closeUnless(parent, dirfd)
			return -1, unix.ENAMETOOLONG
		}
		next, err := open(parent, path[:cut], unix.O_PATH|unix.O_DIRECTORY)
		closeUnless(parent, dirfd)
		if err != nil {
			return -1, err
		}
		parent, path = next, strings.TrimLeft(path[cut:], "/")
		if path == "" {
			path = "."
		}
	}
	fd, err := open(parent, path, flags)
	closeUnless(parent, dirfd)
	return fd, err
}

func closeUnless(fd, kept int) {
	if fd != kept {
		closeFD(fd)
	}
}

// noOpenat2 remembers that openat2(2) is missing: before Linux 5.6, or hidden
// by a seccomp filter that answers EPERM to what it does not know.
var noOpenat2 atomic.Bool

func openPieceBeneath(dirfd int, rel string, flags int) (int, error) {
	if !noOpenat2.Load() {
		how := unix.OpenHow{
			Flags:   uint64(flags | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS,
		}
		fd, err := retryEINTR(func() (int, error) { return unix.Openat2(dirfd, rel, &how) })
		if !errors.Is(err, unix.ENOSYS) && !(errors.Is(err, unix.EPERM) && openat2Hidden()) {
			return fd, err
		}
		noOpenat2.Store(true)
	}
	return walkBeneath(dirfd, rel, flags)
}

// openat2Hidden tells a seccomp filter's EPERM from the file system's own.
func openat2Hidden() bool {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err == nil {
		closeFD(fd)
		return false
	}
	return errors.Is(err, unix.EPERM)
}

// walkBeneath is openat2 for kernels without it: one component at a time, each
// opened without following it and checked to lie on the same mount.
func walkBeneath(dirfd int, rel string, flags int) (int, error) {
	mount, err := mountID(dirfd)
	if err != nil {
		return -1, err
	}
	parent := dirfd
	for {
		name, rest, more := strings.Cut(rel, "/")
		if name == ".." {
			closeUnless(parent, dirfd)
			return -1, unix.EXDEV
		}
		stepFlags := flags | unix.O_NOFOLLOW
		if more {
			stepFlags = unix.O_PATH | unix.O_NOFOLLOW
		}
		fd, err := openStep(parent, name, stepFlags, more)
		closeUnless(parent, dirfd)
		if err != nil {
			return -1, err
		}
		if id, err := mountID(fd); err != nil || id != mount {
			closeFD(fd)
			if err == nil {
				err = unix.EXDEV
			}
			return -1, err
		}
		if !more {
			return fd, nil
		}
		parent, rel = fd, strings.TrimLeft(rest, "/")
		if rel == "" {
			rel = "."
		}
	}
}

// openStep opens one component; a symbolic link in the middle is ELOOP, as
// openat2 says it, and not the ENOTDIR of the next step.
func openStep(parent int, name string, flags int, mustBeDir bool) (int, error) {
	fd, err := retryEINTR(func() (int, error) { return unix.Openat(parent, name, flags|unix.O_CLOEXEC, 0) })
	if err != nil || !mustBeDir {
		return fd, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		closeFD(fd)
		return -1, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fd, nil
	case unix.S_IFLNK:
		closeFD(fd)
		return -1, unix.ELOOP
	}
	closeFD(fd)
	return -1, unix.ENOTDIR
}

// retryEINTR repeats a call that a signal interrupted; Go's own signals do that
// to slow file systems.
func retryEINTR[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

// closeFD drops a descriptor that was only read through: close(2) has nothing
// to say about it.
func closeFD(fd int) { _ = unix.Close(fd) }

// procPath names a descriptor as a path, for calls that take no descriptor, or
// none opened O_PATH.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// lstatAt is fstatat(2) of a name itself.
func lstatAt(dirfd int, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	_, err := retryEINTR(func() (struct{}, error) {
		return struct{}{}, unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

// eachNames lists a directory, open for reading, from its beginning, some names
// at a time.
func eachNames(dirfd int, look func(names []string)) error {
	fd, err := openPath(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer func() { _ = f.Close() }()
	for {
		names, err := f.Readdirnames(512)
		look(names)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readNames lists a directory that has few names.
func readNames(dirfd int) (all []string, err error) {
	err = eachNames(dirfd, func(names []string) { all = append(all, names...) })
	return all, err
}
