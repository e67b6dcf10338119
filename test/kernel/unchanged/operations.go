// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	dirs  = []string{".", "d1", "d1/s", "d2"}
	names = []string{"a", "b", "c", "d", "e"}
)

// most is how many files are held open at a time.
const most = 4

func (o *overlay) name() string {
	name := filepath.Join(dirs[o.rand.IntN(len(dirs))], names[o.rand.IntN(len(names))])
	switch o.rand.IntN(12) {
	case 0:
		return dirs[1+o.rand.IntN(len(dirs)-1)]
	case 1:
		return name + "-linked"
	}
	return name
}

// operation does something with one or two names, or with a file that was opened
// before.
type operation struct {
	name string
	do   func(o *overlay, a, b string) error
}

var operations = []operation{
	{"create", func(_ *overlay, a, _ string) error { return write(a, unix.O_CREAT|unix.O_EXCL, "created") }},
	{"truncate", func(_ *overlay, a, _ string) error { return write(a, unix.O_TRUNC, "truncated") }},
	{"append", func(_ *overlay, a, _ string) error { return write(a, unix.O_APPEND, "+") }},
	{"chmod", func(o *overlay, a, _ string) error { return unix.Chmod(a, 0o700|uint32(o.rand.IntN(64))) }},
	{"chown", func(o *overlay, a, _ string) error { return unix.Lchown(a, o.rand.IntN(3), 0) }},
	{"setxattr", func(_ *overlay, a, _ string) error { return unix.Lsetxattr(a, "trusted.test", []byte("x"), 0) }},
	{"unlink", func(_ *overlay, a, _ string) error { return unix.Unlink(a) }},
	{"unlink", func(_ *overlay, a, _ string) error { return unix.Unlink(a) }},
	{"rmdir", func(_ *overlay, a, _ string) error { return unix.Rmdir(a) }},
	{"remove all", func(_ *overlay, a, _ string) error { return removeAll(a) }},
	{"mkdir", func(_ *overlay, a, _ string) error { return unix.Mkdir(a, 0o755) }},
	{"symlink", func(_ *overlay, a, b string) error { return unix.Symlink(filepath.Base(b), a) }},
	{"mkfifo", func(_ *overlay, a, _ string) error { return unix.Mkfifo(a, 0o644) }},
	{"mknod", func(_ *overlay, a, _ string) error { return unix.Mknod(a, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }},
	{"whiteout", func(_ *overlay, a, _ string) error { return unix.Mknod(a, unix.S_IFCHR, 0) }},
	{"link", func(_ *overlay, a, b string) error { return unix.Link(a, b) }},
	{"rename", func(_ *overlay, a, b string) error { return unix.Rename(a, b) }},
	{"rename", func(_ *overlay, a, b string) error { return unix.Rename(a, b) }},
	{"move", func(_ *overlay, a, b string) error { return rename(a, b, unix.RENAME_NOREPLACE) }},
	{"exchange", func(_ *overlay, a, b string) error { return rename(a, b, unix.RENAME_EXCHANGE) }},
	{"rename to whiteout", func(_ *overlay, a, b string) error { return rename(a, b, unix.RENAME_WHITEOUT) }},
	{"hold", func(o *overlay, a, _ string) error { return o.hold(a, unix.O_RDONLY) }},
	{"hold to write", func(o *overlay, a, _ string) error { return o.hold(a, unix.O_RDWR) }},
	{"held: chmod", func(o *overlay, _, _ string) error {
		return o.onHeld(func(fd int) error { return unix.Fchmod(fd, 0o640) })
	}},
	{"held: write", func(o *overlay, _, _ string) error {
		return o.onHeld(func(fd int) error { _, err := unix.Pwrite(fd, []byte("held"), 0); return err })
	}},
	{"held: link", func(o *overlay, a, _ string) error {
		return o.onHeld(func(fd int) error { return unix.Linkat(fd, "", unix.AT_FDCWD, a, unix.AT_EMPTY_PATH) })
	}},
	{"held: stat", func(o *overlay, _, _ string) error {
		return o.onHeld(func(fd int) error {
			var st unix.Stat_t
			err := unix.Fstat(fd, &st)
			fmt.Fprintf(o.out, "held: %o, %d links, %d bytes\n", st.Mode, st.Nlink, sizeOf(&st))
			return err
		})
	}},
	{"handle", func(_ *overlay, a, _ string) error { return openByHandle(a) }},
	{"forget", func(*overlay, string, string) error {
		return os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0)
	}},
	{"mount again", func(o *overlay, _, _ string) error {
		if strings.Contains(o.options, "volatile") {
			return nil // only once
		}
		return errors.Join(o.unmount(), o.mount())
	}},
}

func (o *overlay) step(n int) error {
	op := operations[o.rand.IntN(len(operations))]
	a, b := o.name(), o.name()
	err := op.do(o, filepath.Join(o.top, a), filepath.Join(o.top, b))
	var errno unix.Errno
	if err != nil && !errors.As(err, &errno) {
		return fmt.Errorf("%s: %w", op.name, err)
	}
	fmt.Fprintf(o.out, "%d %s %s %s: %d\n", n, op.name, a, b, errno)
	return nil
}

func write(path string, flags int, text string) error {
	fd, err := unix.Open(path, flags|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(text))
	return errors.Join(err, unix.Close(fd))
}

// removeAll looks first: os.RemoveAll opens the parent, and waits where that is a
// fifo by now.
func removeAll(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Dir(path), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return os.RemoveAll(path)
}

func rename(a, b string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, flags)
}

func (o *overlay) hold(path string, flags int) error {
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	o.held = append(o.held, f)
	if len(o.held) > most {
		err = o.held[0].Close()
		o.held = o.held[1:]
	}
	return err
}

func (o *overlay) onHeld(do func(fd int) error) error {
	if len(o.held) == 0 {
		return unix.EBADF
	}
	return do(int(o.held[o.rand.IntN(len(o.held))].Fd()))
}

// openByHandle does what an NFS server does.
func openByHandle(path string) error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return err
	}
	mount, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err == nil {
		err = unix.Close(fd)
	}
	return errors.Join(err, unix.Close(mount))
}
