// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// Where several things are wrong, the answer is the one that is documented to
// be looked for first: the argument, the path, EXDEV, EROFS, permission in the
// parent, EEXIST and EISDIR, what would become visible, permission over that,
// the index. Each call below is wrong in two of these ways, of neighbours.
func TestErrorPrecedence(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "present", "d/suid", "e/f", "d/gone-dir/x", "links/suid")
	for _, name := range []string{"d/suid", "links/suid"} {
		o.must(os.Chmod(o.lower(name), 0o755|os.ModeSetuid))
	}
	o.must(os.Link(o.lower("links/suid"), o.lower("links/other")))
	o.must(os.Chmod(o.lower("d"), 0o777|os.ModeSticky))
	o.must(os.Chmod(o.lower("links"), 0o777))
	o.must(os.Mkdir(o.upper("d"), 0o777))
	o.must(os.Chmod(o.upper("d"), 0o777|os.ModeSticky))
	o.must(unix.Mknod(o.upper("d/orphan"), unix.S_IFCHR, 0))
	o.start("index=on")
	o.public()
	o.remove("f")
	o.remove("links/suid")
	o.must(os.Mkdir(o.merged("own"), 0o755))

	other := newOverlay(t)
	other.layer("f")
	other.Mount(t)
	other.remove("f")
	bind := func(from string) string {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "ro")
		o.must(os.Mkdir(dir, 0o755))
		o.must(unix.Mount(from, dir, "", unix.MS_BIND, ""))
		t.Cleanup(func() { o.must(unix.Unmount(dir, unix.MNT_DETACH)) })
		o.must(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
		for p := dir; p != "/"; p = parent(p) {
			if p != dir {
				o.must(os.Chmod(p, 0o755))
			}
		}
		return dir
	}
	ro, otherRO := bind(o.Merged), bind(other.Merged)

	for _, req := range []uint{reqRestore, reqRestorable} {
		path := func(what, path string, errno unix.Errno) {
			t.Helper()
			if err := expect(what, rawPath(o.dir, req, []byte(path+"\x00"), uint32(len(path)), 0), errno); err != nil {
				t.Errorf("ioctl %#x: %v", req, err)
			}
		}
		want(t, rawIoctl(o.dir, req, unsafe.Pointer(&pathArgs{8, 3, 1 << 5})), unix.EINVAL) // and a path at 8
		want(t, rawIoctl(o.dir, req, unsafe.Pointer(&pathArgs{8, 0, 0})), unix.EINVAL)
		want(t, rawIoctl(o.dir, req, unsafe.Pointer(&pathArgs{8, unix.PathMax, 0})), unix.ENAMETOOLONG)
		path("relative, and no such parent", "none/f", unix.EINVAL)
		path("trailing slash, and no such parent", "/none/f/", unix.EINVAL)
		path("dots, and another file system", o.Lower+"/..", unix.EINVAL)
		path("no such parent, and a long name", o.merged("none/"+strings.Repeat("x", 256)), unix.ENOENT)
		path("another file system, and a long name", o.lower(strings.Repeat("x", 256)), unix.EXDEV)
		path("another overlay, and read-only", otherRO+"/f", unix.EXDEV)
		asUser(t, alice, staff, func() error {
			raw := func(what, path string, errno unix.Errno) error {
				return expect(what, rawPath(o.dir, req, []byte(path+"\x00"), uint32(len(path)), 0), errno)
			}
			return errors.Join(
				raw("read-only, and no permission in the parent", ro+"/f", unix.EROFS),
				raw("no permission in the parent, and nothing there", o.merged("none"), unix.EACCES),
				raw("no permission over what appears, and the index", o.merged("links/suid"), unix.EPERM))
		})
		path("the index", o.merged("links/suid"), unix.EOPNOTSUPP)
	}
	// A directory that has nothing below it.
	o.want(o.tryDiscard("own"), unix.EISDIR)
	// Nothing becomes visible: there is nothing to need permission over.
	asUser(t, alice, staff, func() error {
		return errors.Join(
			expect("ask for an orphan", o.mount.IsRestorable(o.merged("d/orphan")), unix.ENODATA),
			expect("restore an orphan", o.tryRestore("d/orphan"), unix.ENODATA))
	})
	o.wantState("d/orphan", ioctl.StateNone, 0)
	o.wantWhiteout("f", true)
	o.wantWhiteout("links/suid", true)
}
