// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// overlay is an overlay under test. Its methods that take no error back end
// the test when something fails that is not under test. Names are relative to
// the merged directory, or to the layer that the method is named after.
type overlay struct {
	*namespace.Overlay
	t     testing.TB
	dir   *os.File // the mount point
	mount *ioctl.Mount
}

// newOverlay makes an overlay on the ext4 disk without mounting it.
func newOverlay(t testing.TB) *overlay {
	t.Helper()
	return newOverlayIn(t, namespace.Disk(t))
}

func newOverlayIn(t testing.TB, dir string) *overlay {
	t.Helper()
	return &overlay{Overlay: namespace.NewOverlayIn(t, dir), t: t}
}

// start mounts the overlay. On a kernel without the ioctls it asserts ENOTTY
// and ends the test.
func (o *overlay) start(options ...string) {
	o.t.Helper()
	o.Mount(o.t, options...)
	o.open()
}

func (o *overlay) open() {
	o.t.Helper()
	dir, err := os.OpenFile(o.Merged, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	o.must(err)
	o.t.Cleanup(func() { dir.Close() })
	o.dir, o.mount = dir, ioctl.NewMount(dir)
	if os.Getenv("OVL_VM") == "stock" {
		o.assertNotKnown()
		o.t.Skip("the stock module: it has no ioctls, as was asserted")
	}
}

func (o *overlay) assertNotKnown() {
	o.t.Helper()
	name := o.merged("no-such-name")
	o.want(o.mount.RestoreLower(name, 0), unix.ENOTTY)
	o.want(o.mount.IsRestorable(name), unix.ENOTTY)
	_, err := o.mount.UpperState(name)
	o.want(err, unix.ENOTTY)
}

// remount drops every cache of the overlay but keeps its layers.
func (o *overlay) remount(options ...string) {
	o.t.Helper()
	o.must(o.dir.Close())
	o.must(unix.Unmount(o.Merged, 0))
	// A volatile overlay's upper is not to be trusted after a crash.
	o.must(os.RemoveAll(filepath.Join(o.Work, "work", "incompat")))
	o.start(options...)
}

func (o *overlay) lower(name string) string  { return filepath.Join(o.Lower, name) }
func (o *overlay) upper(name string) string  { return filepath.Join(o.Upper, name) }
func (o *overlay) merged(name string) string { return filepath.Join(o.Merged, name) }

func (o *overlay) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// write writes a file and the directories above it.
func (o *overlay) write(path, content string) {
	o.t.Helper()
	o.must(os.MkdirAll(filepath.Dir(path), 0o755))
	o.must(os.WriteFile(path, []byte(content), 0o644))
}

// layer fills the lower layer with files that hold their own names.
func (o *overlay) layer(names ...string) {
	o.t.Helper()
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			o.must(os.MkdirAll(o.lower(name), 0o755))
		} else {
			o.write(o.lower(name), "lower "+name)
		}
	}
}

func (o *overlay) remove(name string) {
	o.t.Helper()
	o.must(os.RemoveAll(o.merged(name)))
}

func (o *overlay) rename(from, to string) {
	o.t.Helper()
	o.must(os.Rename(o.merged(from), o.merged(to)))
}

func (o *overlay) restore(name string) {
	o.t.Helper()
	if err := o.tryRestore(name); err != nil {
		o.t.Fatalf("restore %s: %v", name, err)
	}
}

func (o *overlay) tryRestore(name string) error {
	return o.mount.RestoreLower(o.merged(name), 0)
}

func (o *overlay) discard(name string) {
	o.t.Helper()
	if err := o.tryDiscard(name); err != nil {
		o.t.Fatalf("discard %s: %v", name, err)
	}
}

func (o *overlay) tryDiscard(name string) error {
	return o.mount.RestoreLower(o.merged(name), ioctl.DiscardUpper)
}

// want asserts the errno of a call; 0 is success.
func (o *overlay) want(err error, errno unix.Errno) {
	o.t.Helper()
	want(o.t, err, errno)
}

func want(t testing.TB, err error, errno unix.Errno) {
	t.Helper()
	if errno == 0 && err == nil || errno != 0 && errors.Is(err, errno) {
		return
	}
	t.Errorf("got error %v, want %s (%v)", err, unix.ErrnoName(errno), errno)
}

// wantContent asserts what a file of the merged directory holds.
func (o *overlay) wantContent(name, content string) {
	o.t.Helper()
	b, err := os.ReadFile(o.merged(name))
	if err != nil {
		o.t.Errorf("read the merged file: %v", err)
	} else if string(b) != content {
		o.t.Errorf("%s holds %q, want %q", name, b, content)
	}
}

// wantLower asserts that a name shows the lower file of the same name.
func (o *overlay) wantLower(name string) {
	o.t.Helper()
	o.wantContent(name, "lower "+name)
}

func (o *overlay) wantAbsent(name string) {
	o.t.Helper()
	if _, err := os.Lstat(o.merged(name)); !errors.Is(err, fs.ErrNotExist) {
		o.t.Errorf("lstat %s: %v, want it absent", name, err)
	}
	if slices.Contains(o.names(filepath.Dir(name)), filepath.Base(name)) {
		o.t.Errorf("%s is listed", name)
	}
}

func (o *overlay) wantWhiteout(name string, there bool) {
	o.t.Helper()
	var st unix.Stat_t
	err := unix.Lstat(o.upper(name), &st)
	is := err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
	if is != there {
		o.t.Errorf("whiteout at %s: %v, want %v", name, is, there)
	}
}

func (o *overlay) wantState(name string, want ioctl.State, flags ioctl.StateFlags) {
	o.t.Helper()
	state, err := o.mount.UpperState(o.merged(name))
	if err != nil {
		o.t.Errorf("state of %s: %v", name, err)
	} else if state.State != want || state.Flags != flags {
		o.t.Errorf("state of %s: %d, flags %d, want %d, %d", name, state.State, state.Flags, want, flags)
	}
}

// names lists a directory of the merged tree.
func (o *overlay) names(dir string) []string {
	o.t.Helper()
	entries, err := os.ReadDir(o.merged(dir))
	o.must(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (o *overlay) wantNames(dir string, want ...string) {
	o.t.Helper()
	if got := o.names(dir); !slices.Equal(got, want) {
		o.t.Errorf("%s lists %q, want %q", dir, got, want)
	}
}

func (o *overlay) stat(name string) unix.Stat_t {
	o.t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(o.merged(name), &st); err != nil {
		o.t.Fatalf("lstat %s: %v", name, err)
	}
	return st
}

// openFile keeps a file of the merged tree open until the test ends.
func (o *overlay) openFile(name string, flags int) *os.File {
	o.t.Helper()
	f, err := os.OpenFile(o.merged(name), flags, 0)
	o.must(err)
	o.t.Cleanup(func() { f.Close() })
	return f
}

// dropCaches evicts every dentry and inode that is not in use.
func (o *overlay) dropCaches() {
	o.t.Helper()
	o.must(os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0o200))
}

// onEachFS runs a test on tmpfs, ext4 and the other file systems that the guest
// has.
func onEachFS(t *testing.T, test func(t *testing.T, o *overlay)) {
	for _, fs := range fileSystems() {
		t.Run(fs, func(t *testing.T) { test(t, newOverlayIn(t, dirOn(t, fs))) })
	}
}
