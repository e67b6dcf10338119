// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// What is changed through a stale descriptor must not come back under the
// name that was restored.
func TestStaleDescriptorIsNotCopiedUp(t *testing.T) {
	kinds := []string{"file", "dir", "fifo", "symlink"}
	fill := func(o *overlay) {
		o.layer("file", "dir/")
		o.must(unix.Mkfifo(o.lower("fifo"), 0o644))
		o.must(os.Symlink("target", o.lower("symlink")))
	}
	onEachConfig(t, fill, func(o *overlay, c config) {
		var files []*os.File
		for _, name := range kinds {
			fd, err := unix.Open(o.merged(name), unix.O_PATH|unix.O_NOFOLLOW, 0)
			o.must(err)
			f := os.NewFile(uintptr(fd), name)
			o.t.Cleanup(func() { _ = f.Close() })
			files = append(files, f)
		}
		open := o.openFile("file", os.O_RDONLY)
		try := func(errno unix.Errno) {
			o.t.Helper()
			want(o.t, unix.Fchmod(int(open.Fd()), 0o600), errno)
			magic := "/proc/self/fd/" + strconv.Itoa(int(open.Fd()))
			want(o.t, unix.Setxattr(magic, "trusted.x", []byte("x"), 0), errno)
			for _, flags := range []int{os.O_RDWR, os.O_WRONLY | os.O_TRUNC} {
				f, err := os.OpenFile(magic, flags, 0)
				want(o.t, err, errno)
				f.Close()
			}
			for _, f := range files {
				want(o.t, unix.Fchownat(int(f.Fd()), "", 1, 1, unix.AT_EMPTY_PATH), errno)
			}
		}
		for _, name := range kinds {
			o.remove(name)
		}
		if c.nfsExport() {
			// They were copied up by their removal, to be indexed.
			for _, name := range kinds {
				o.restore(name)
			}
			try(0)
		} else {
			// The whiteout is in the way, as it always was.
			try(unix.EEXIST)
			for _, name := range kinds {
				o.wantWhiteout(name, true)
				o.restore(name)
			}
			try(unix.EEXIST)
		}
		for _, name := range kinds {
			o.wantState(name, ioctl.StateNone, 0)
			if st := o.stat(name); st.Uid != 0 {
				o.t.Errorf("%s belongs to %d", name, st.Uid)
			}
		}
		o.wantLower("file")
		if got := readAll(o.t, open); got != "lower file" && !c.nfsExport() {
			o.t.Errorf("the open file holds %q", got)
		}
	})
}

// The name was lost to a rename, and is free after a discard.
func TestStaleDescriptorAfterRenameOver(t *testing.T) {
	fill := func(o *overlay) { o.layer("f") }
	onEachConfig(t, fill, func(o *overlay, c config) {
		open := o.openFile("f", os.O_RDONLY)
		o.write(o.merged("new"), "new")
		o.rename("new", "f")
		if !c.nfsExport() {
			want(o.t, unix.Fchmod(int(open.Fd()), 0o600), unix.EEXIST)
		}
		o.discard("f")
		if !c.nfsExport() {
			want(o.t, unix.Fchmod(int(open.Fd()), 0o600), unix.EEXIST)
		}
		o.wantState("f", ioctl.StateNone, 0)
		o.wantLower("f")
		if mode := o.stat("f").Mode & 0o777; mode != 0o644 {
			o.t.Errorf("f has mode %o", mode)
		}
	})
}

// What keeps its name is copied up as ever: renamed, linked, or just open.
func TestDescriptorIsCopiedUp(t *testing.T) {
	fill := func(o *overlay) { o.layer("f", "g", "h") }
	onEachConfig(t, fill, func(o *overlay, _ config) {
		f, g, h := o.openFile("f", os.O_RDONLY), o.openFile("g", os.O_RDONLY), o.openFile("h", os.O_RDONLY)
		o.rename("g", "g2")
		o.must(os.Link(o.merged("h"), o.merged("h2")))
		o.remove("h")
		for _, file := range []*os.File{f, g, h} {
			o.must(unix.Fchmod(int(file.Fd()), 0o600))
		}
		for _, name := range []string{"f", "g2", "h2"} {
			if mode := o.stat(name).Mode & 0o777; mode != 0o600 {
				o.t.Errorf("%s has mode %o", name, mode)
			}
		}
	})
}

// The file is opened for writing through a descriptor in the moment in which it
// is removed and restored: it is copied up before that or not at all. Opening is
// the copy-up that takes no lock that removal takes.
func TestStaleDescriptorRace(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("f", "over")
		o.start()
		for round := range 200 {
			f := o.openFile("f", os.O_RDONLY)
			over := o.openFile("over", os.O_RDONLY)
			o.write(o.merged("new"), "new")
			changed := make(chan error, 2)
			for _, file := range []*os.File{f, over} {
				go func() {
					time.Sleep(time.Duration(round%20) * 20 * time.Microsecond)
					w, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(file.Fd())), os.O_WRONLY, 0)
					w.Close()
					changed <- err
				}()
			}
			o.remove("f")
			o.restore("f")
			o.rename("new", "over")
			o.discard("over")
			for range 2 {
				if err := <-changed; err != nil {
					want(t, err, unix.EEXIST)
				}
			}
			f.Close()
			over.Close()
			for _, name := range []string{"f", "over"} {
				o.wantState(name, ioctl.StateNone, 0)
				o.wantLower(name)
				if mode := o.stat(name).Mode & 0o777; mode != 0o644 {
					t.Errorf("%s has mode %o", name, mode)
				}
			}
			if t.Failed() {
				return
			}
		}
	})
}
