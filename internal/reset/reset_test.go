// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// From request to clean-up, twice: the second time from what the first left.
func TestReset(t *testing.T) {
	d := newDevice(t)
	image := tree(t, d.Lower)
	var before unix.Stat_t
	d.check(unix.Stat(d.Upper, &before))
	for range 2 {
		used := d.merged()
		d.request(&Order{By: "test"})
		if got := d.merged(); !cmp.Equal(used, got) {
			t.Errorf("the request alone changed the overlay: %s", cmp.Diff(used, got))
		}
		if s := d.look(); s.State != Requested || s.Order.By != "test" {
			t.Errorf("after the request: %+v", s)
		}
		out := d.perform()
		if len(out.Done) != 1 || out.Resumed || len(out.Ignored) != 0 {
			t.Errorf("perform: %+v", out)
		}
		if got := d.merged(); !cmp.Equal(image, got) {
			t.Errorf("not the image: %s", cmp.Diff(image, got))
		}
		if s := d.look(); s.State != Cleaning || s.Left.Entries == 0 || s.Last == nil || s.Order != nil || s.LastAt.IsZero() {
			t.Errorf("after the reset: %+v", s)
		}
		if out := d.perform(); len(out.Done) != 0 {
			t.Errorf("reset again at the next boot: %+v", out)
		}
		c, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
		d.check(err)
		if c.Removed < 10 {
			t.Errorf("clean-up removed %d entries", c.Removed)
		}
		if s := d.look(); s.State != None || s.Left.Entries != 0 {
			t.Errorf("after the clean-up: %+v", s)
		}
		if got := d.beside(); got != "upper"+Suffix {
			t.Errorf("beside the upper: %s", got)
		}
		names, err := d.place().names()
		d.check(err)
		if !cmp.Equal(names, []string{fileLast}) {
			t.Errorf("the clean-up left %q", names)
		}
		d.use()
	}
	var after unix.Stat_t
	d.check(unix.Stat(d.Upper, &after))
	if before.Ino == after.Ino || before.Mode != after.Mode || before.Uid != after.Uid {
		t.Errorf("the upper was %+v, is %+v", before, after)
	}
}

// New directories are like the old ones in owner, mode and attributes.
func TestNewDirectoriesAreLikeTheOld(t *testing.T) {
	d := newDevice(t)
	for _, dir := range []string{d.Upper, d.Work} {
		d.check(unix.Chmod(dir, 0o1751))
		d.check(unix.Setxattr(dir, "user.label", []byte("mine"), 0))
		if namespace.Privileged() {
			d.check(os.Chown(dir, 12, 34))
			d.check(unix.Setxattr(dir, "trusted.label", []byte("mine"), 0))
			d.check(unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0))
		}
	}
	d.request(&Order{})
	d.perform()
	for _, dir := range []string{d.Upper, d.Work} {
		var st unix.Stat_t
		d.check(unix.Stat(dir, &st))
		f, err := os.Open(dir)
		d.check(err)
		attrs, err := xattrsOf(int(f.Fd()))
		d.check(errors.Join(err, f.Close()))
		want := map[string][]byte{"user.label": []byte("mine")}
		if namespace.Privileged() {
			want["trusted.label"] = []byte("mine")
			if st.Uid != 12 || st.Gid != 34 {
				t.Errorf("%s belongs to %d:%d", dir, st.Uid, st.Gid)
			}
		}
		delete(attrs, "security.selinux")
		if st.Mode&0o7777 != 0o1751 || !cmp.Equal(attrs, want) {
			t.Errorf("%s has mode %o, attributes %q", dir, st.Mode, attrs)
		}
	}
}

func TestCancel(t *testing.T) {
	d := newDevice(t)
	used := d.merged()
	d.request(&Order{})
	orders, err := Cancel([]*Place{d.place()})
	d.check(err)
	if len(orders) != 1 {
		t.Errorf("%d requests cancelled", len(orders))
	}
	if out := d.perform(); len(out.Done) != 0 {
		t.Errorf("reset in spite of the cancellation: %+v", out)
	}
	if got := d.merged(); !cmp.Equal(used, got) {
		t.Error(cmp.Diff(used, got))
	}
	if orders, err := Cancel([]*Place{d.place()}); err != nil || len(orders) != 0 {
		t.Errorf("cancelled again: %v, %v", orders, err)
	}
	// What a withdrawn request leaves goes with the next clean-up.
	_, err = Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
	d.check(err)
	if names, err := d.place().names(); err != nil || len(names) != 0 {
		t.Errorf("left: %q, %v", names, err)
	}
}

// A request that is made again replaces the one that stands.
func TestRequestAgain(t *testing.T) {
	d := newDevice(t)
	d.request(&Order{})
	d.request(&Order{Keep: []string{"/etc/hostname"}, Wipe: true})
	if s := d.look(); s.State != Requested || !s.Order.Wipe || len(s.Order.Keep) != 1 {
		t.Errorf("%+v", s)
	}
	if out := d.perform(); len(out.Done) != 1 || out.Kept != 1 {
		t.Errorf("%+v", out)
	}
	if got := d.merged()["etc/hostname"]; got == "" || got == tree(t, d.Lower)["etc/hostname"] {
		t.Errorf("not kept: %q", got)
	}
}

// Several overlays are one reset. A perform that does not know all of them does
// nothing.
func TestSeveralOverlays(t *testing.T) {
	a, b := newDevice(t), newDevice(t)
	pa, pb := a.place(), b.place()
	pb.Mount = "/b"
	a.check(Request([]*Place{pa, pb}, &Order{}))
	used := a.merged()
	_, err := Perform([]*Place{a.place()}, PerformOptions{})
	if !errors.As(err, new(*IncompleteError)) {
		t.Errorf("with one of two: %v", err)
	}
	if got := a.merged(); !cmp.Equal(used, got) {
		t.Error(cmp.Diff(used, got))
	}
	// The order in which they are given does not matter.
	out, err := Perform([]*Place{b.place(), a.place()}, PerformOptions{})
	a.check(err)
	if len(out.Done) != 1 {
		t.Errorf("%+v", out)
	}
	for _, d := range []*device{a, b} {
		if got, want := d.merged(), tree(t, d.Lower); !cmp.Equal(want, got) {
			t.Error(cmp.Diff(want, got))
		}
	}
}

// The work directory may be missing, and so may the upper.
func TestMissingDirectories(t *testing.T) {
	d := newDevice(t)
	d.check(os.RemoveAll(d.Work))
	d.request(&Order{})
	d.perform()
	if got, want := d.merged(), tree(t, d.Lower); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	d.check(os.RemoveAll(d.Upper))
	d.request(&Order{})
	d.perform()
	if got, want := d.merged(), tree(t, d.Lower); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	p := d.place()
	p.Work = ""
	d.check(Request([]*Place{p}, &Order{}))
	if _, err := Perform([]*Place{p}, PerformOptions{}); err == nil {
		t.Error("no error for an unknown work directory")
	}
	p.Work = filepath.Join(d.Work, "nowhere", "work")
	if _, err := Perform([]*Place{p}, PerformOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a work directory nowhere: %v", err)
	}
	if s := d.look(); s.State != Requested {
		t.Errorf("after failures: %+v", s)
	}
}

func TestUpperIsMountPoint(t *testing.T) {
	d := newDevice(t)
	used := d.merged()
	namespace.Mount(t, d.Upper, d.Upper, "", unix.MS_BIND, "")
	d.request(&Order{})
	var mountPoint *MountPointError
	_, err := Perform([]*Place{d.place()}, PerformOptions{})
	if !errors.As(err, &mountPoint) || mountPoint.Path != d.Upper {
		t.Errorf("perform: %v", err)
	}
	if s := d.look(); s.State != Requested {
		t.Errorf("%+v", s)
	}
	d.check(unix.Unmount(d.Upper, 0))
	if got := d.merged(); !cmp.Equal(used, got) {
		t.Error(cmp.Diff(used, got))
	}
}

// small is a file system of its own, on which an overlay can live.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	namespace.Mount(t, "small", dir, "tmpfs", 0, "size=4m")
	return dir
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := small(t)
	d := newDeviceIn(t, dir)
	d.request(&Order{})
	d.check(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := Perform([]*Place{d.place()}, PerformOptions{}); !errors.Is(err, unix.EROFS) {
		t.Errorf("perform: %v", err)
	}
	if err := Request([]*Place{d.place()}, &Order{}); !errors.Is(err, unix.EROFS) {
		t.Errorf("request: %v", err)
	}
	if _, err := Cancel([]*Place{d.place()}); !errors.Is(err, unix.EROFS) {
		t.Errorf("cancel: %v", err)
	}
	d.check(unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
	if out := d.perform(); len(out.Done) != 1 {
		t.Errorf("%+v", out)
	}
}

// A disk that is full when the reset comes is no obstacle: room was reserved.
func TestFullFileSystem(t *testing.T) {
	d := newDeviceIn(t, small(t))
	fill := func() {
		f, err := os.Create(filepath.Join(d.Upper, "big"))
		d.check(err)
		for n := 1 << 20; n > 0; {
			if _, err := f.Write(make([]byte, n)); err != nil {
				n /= 2
			}
		}
		d.check(f.Close())
	}
	fill()
	if err := Request([]*Place{d.place()}, &Order{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a request on a full disk: %v", err)
	}
	if s := d.look(); s.State != None {
		t.Errorf("%+v", s)
	}
	d.check(os.Remove(filepath.Join(d.Upper, "big")))
	d.request(&Order{Keep: []string{"/etc/ssh"}})
	fill()
	if out := d.perform(); len(out.Done) != 1 || out.Kept != 3 {
		t.Errorf("%+v", out)
	}
	_, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{})
	d.check(err)
	want := tree(t, d.Lower)
	got := d.merged()
	for _, name := range []string{"etc/ssh", "etc/ssh/key", "etc/ssh/key2"} {
		if got[name] == "" {
			t.Errorf("%s is not kept", name)
		}
		delete(got, name)
		delete(want, name)
	}
	if !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
}

// xattrsOf reads all extended attributes of an open file.
func xattrsOf(fd int) (map[string][]byte, error) {
	list, err := growing(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	attrs := map[string][]byte{}
	for err == nil && len(list) > 0 {
		var name []byte
		name, list = cutNUL(list)
		attrs[string(name)], err = growing(func(b []byte) (int, error) { return unix.Fgetxattr(fd, string(name), b) })
	}
	return attrs, err
}
