// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

func names(t testing.TB, f *os.File) []string {
	t.Helper()
	list, err := f.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// Whoever holds the directory open sees the name after rewinding; whoever
// opens it sees it at once.
func TestReaddir(t *testing.T) {
	fill := func(o *overlay) {
		o.layer("d/f", "d/g", "lower-only/f")
		for i := range 200 {
			o.write(o.lower(fmt.Sprintf("d/fill-%03d", i)), "")
		}
	}
	onEachConfig(t, fill, func(o *overlay, c config) {
		// Opened while it is the lower directory alone.
		early := o.openFile("d", os.O_RDONLY)
		o.remove("d/f")
		o.must(os.WriteFile(o.merged("d/g"), []byte("changed"), 0))
		partly := o.openFile("d", os.O_RDONLY)
		_, err := partly.Readdirnames(3)
		o.must(err)
		full := o.openFile("d", os.O_RDONLY)
		if slices.Contains(names(o.t, full), "f") {
			o.t.Error("f is listed before it is restored")
		}

		o.restore("d/f")
		if !slices.Contains(o.names("d"), "f") {
			o.t.Error("a fresh readdir does not list f")
		}
		for _, dir := range []*os.File{early, partly, full} {
			_, err := dir.Seek(0, 0)
			o.must(err)
			if got := names(o.t, dir); !slices.Contains(got, "f") || len(got) != 202 {
				o.t.Errorf("rewound, the directory lists %d names: %.80q", len(got), got)
			}
		}
		if !c.index() {
			o.discard("d/g")
			if got := o.names("d"); len(got) != 202 {
				o.t.Errorf("after a discard, the directory lists %d names", len(got))
			}
		}
		// Nothing of it is in upper.
		o.want(o.tryRestore("lower-only/f"), unix.EEXIST)
		o.wantState("lower-only/f", ioctl.StateNone, 0)
	})
}

// Entries with an origin were moved into a directory that is upper alone.
func TestReaddirOfImpureDirectory(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("f", "d/g")
		o.start("redirect_dir=on")
		o.must(os.Mkdir(o.merged("own"), 0o755))
		o.rename("f", "own/f")
		o.rename("d", "own/d")
		o.wantNames("own", "d", "f")
		o.remove("own/d/g")
		o.restore("own/d/g")
		o.wantNames("own/d", "g")
		o.wantContent("own/d/g", "lower d/g")
		o.want(o.tryRestore("own/f"), unix.EEXIST)
		o.want(o.tryDiscard("own/f"), unix.ENODATA)
		o.restore("f")
		o.wantNames("own", "d", "f")
		o.wantLower("f")
	})
}

// A whiteout in a layer between hides what is below for good.
func TestMiddleWhiteout(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "g", "d/x")
	middle := filepath.Join(filepath.Dir(o.Lower), "middle")
	o.must(os.Mkdir(middle, 0o755))
	for _, name := range []string{"f", "g", "d"} {
		o.must(unix.Mknod(filepath.Join(middle, name), unix.S_IFCHR, 0))
	}
	o.write(o.upper("f"), "upper")
	o.must(unix.Mknod(o.upper("g"), unix.S_IFCHR, 0))
	o.start("lowerdir=" + middle + ":" + o.Lower)
	o.want(o.tryDiscard("f"), unix.ENODATA)
	o.wantContent("f", "upper")
	o.want(o.mount.IsRestorable(o.merged("g")), unix.ENODATA)
	o.wantWhiteout("g", true)
	o.want(o.tryRestore("g"), unix.ENODATA)
	o.wantWhiteout("g", false)
	o.wantAbsent("g")
	o.write(o.merged("g"), "made after")
	o.wantContent("g", "made after")
}

func TestManyLowers(t *testing.T) {
	o := newOverlay(t)
	var lowers []string
	for i := range 60 {
		dir := filepath.Join(filepath.Dir(o.Lower), fmt.Sprint("l", i))
		o.write(filepath.Join(dir, "all"), fmt.Sprint("from ", i))
		o.write(filepath.Join(dir, fmt.Sprint("only-", i)), "only")
		o.write(filepath.Join(dir, "d", fmt.Sprint("in-", i)), "in")
		lowers = append(lowers, dir)
	}
	o.start("lowerdir=" + strings.Join(lowers, ":"))
	o.remove("all")
	o.remove("only-59")
	o.remove("d")
	o.restore("all")
	o.restore("only-59")
	o.restore("d")
	o.wantContent("all", "from 0")
	o.wantContent("only-59", "only")
	if got := o.names("d"); len(got) != 60 {
		t.Errorf("d lists %d names", len(got))
	}
}

// The upper layer was changed by others: found out, or at least not undone.
func TestUpperChangedBelow(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "g", "h", "i")
	o.start()
	o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
	o.write(o.upper("other"), "another file")
	o.must(os.Rename(o.upper("other"), o.upper("f")))
	o.want(o.tryDiscard("f"), unix.ESTALE)
	if b, err := os.ReadFile(o.upper("f")); err != nil || string(b) != "another file" {
		t.Errorf("upper f: %q, %v", b, err)
	}
	// Written over a whiteout that is cached.
	o.remove("g")
	o.wantAbsent("g")
	o.must(os.Remove(o.upper("g")))
	o.write(o.upper("g"), "by hand")
	o.want(o.tryRestore("g"), unix.EEXIST)
	o.want(o.tryDiscard("g"), unix.ESTALE)
	// A whiteout made by hand over a file that is cached.
	o.wantLower("h")
	o.must(unix.Mknod(o.upper("h"), unix.S_IFCHR, 0))
	o.want(o.tryRestore("h"), unix.ESTALE)
	// A file made by hand over one that is cached, and still shown.
	o.wantLower("i")
	o.write(o.upper("i"), "by hand")
	o.want(o.tryDiscard("i"), unix.ESTALE)
	if b, err := os.ReadFile(o.upper("i")); err != nil || string(b) != "by hand" {
		t.Errorf("upper i: %q, %v", b, err)
	}
}

// There is no moment without the name: whoever looks finds one or the other.
func TestDiscardIsAtomic(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f")
	o.start()
	stop := make(chan struct{})
	looked := make(chan error, 3)
	look := func(what func() error) {
		for {
			select {
			case <-stop:
				looked <- nil
				return
			default:
			}
			if err := what(); err != nil {
				looked <- err
				return
			}
		}
	}
	go look(func() error {
		_, err := os.Lstat(o.merged("d/f"))
		return err
	})
	go look(func() error {
		b, err := os.ReadFile(o.merged("d/f"))
		if err == nil && string(b) != "lower d/f" && string(b) != "changed" && len(b) != 0 {
			err = fmt.Errorf("read %q", b)
		}
		return err
	})
	go look(func() error {
		entries, err := os.ReadDir(o.merged("d"))
		if err == nil && len(entries) != 1 {
			err = fmt.Errorf("%d entries", len(entries))
		}
		return err
	})
	for range 500 {
		o.must(os.WriteFile(o.merged("d/f"), []byte("changed"), 0))
		o.discard("d/f")
	}
	close(stop)
	for range 3 {
		o.must(<-looked)
	}
}

// What inotify tells: that a name was created, or deleted and created.
func TestNotification(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "dir/x", "g")
	o.start()
	for _, name := range []string{"f", "dir"} {
		o.remove(name)
	}
	o.must(os.WriteFile(o.merged("g"), []byte("changed"), 0))
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	o.must(err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, o.Merged, unix.IN_CREATE|unix.IN_DELETE)
	o.must(err)
	o.want(o.mount.IsRestorable(o.merged("f")), 0)
	o.want(o.tryRestore("none"), unix.EEXIST)
	o.restore("f")
	o.restore("dir")
	o.discard("g")
	want := []string{"create f", "create dir/", "delete g", "create g"}
	if got := events(t, fd); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func events(t testing.TB, fd int) []string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	var list []string
	for b := buf[:max(n, 0)]; len(b) > 0; {
		mask := binary.NativeEndian.Uint32(b[4:])
		length := binary.NativeEndian.Uint32(b[12:])
		name, _, _ := bytes.Cut(b[16:16+length], []byte{0})
		event := "create "
		if mask&unix.IN_DELETE != 0 {
			event = "delete "
		}
		event += string(name)
		if mask&unix.IN_ISDIR != 0 {
			event += "/"
		}
		list = append(list, event)
		b = b[16+length:]
	}
	return list
}

// A watch on a lower file survives its dentry, with aliases around too.
func TestWatchSurvivesEviction(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "g")
	o.start()
	o.rename("g", "g2")
	o.restore("g")
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	o.must(err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, o.merged("f"), unix.IN_ATTRIB)
	o.must(err)
	o.dropCaches()
	o.must(os.Chmod(o.merged("f"), 0o600))
	if got := events(t, fd); len(got) == 0 {
		t.Error("no event")
	}
}

func TestVolatile(t *testing.T) {
	o := newOverlay(t)
	o.layer("f")
	o.start("volatile")
	o.remove("f")
	o.restore("f")
	o.wantLower("f")
	o.must(o.dir.Sync())
}

func TestUpperOnlyName(t *testing.T) {
	o := newOverlay(t)
	o.must(unix.Mknod(o.upper("orphan"), unix.S_IFCHR, 0))
	o.start()
	o.wantState("orphan", ioctl.StateWhiteout, 0)
	o.want(o.mount.IsRestorable(o.merged("orphan")), unix.ENODATA)
	o.want(o.tryRestore("orphan"), unix.ENODATA)
	o.wantState("orphan", ioctl.StateNone, 0)
	if _, err := os.Lstat(o.upper("orphan")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("upper orphan: %v", err)
	}
}
