// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

func TestRestoreFile(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("f", "d/f", "other")
		o.start()
		o.wantState("f", ioctl.StateNone, 0)
		o.want(o.mount.IsRestorable(o.merged("f")), unix.EEXIST)
		o.want(o.tryRestore("f"), unix.EEXIST)

		o.remove("f")
		o.remove("d/f")
		// A negative dentry is cached.
		o.wantAbsent("f")
		o.wantWhiteout("f", true)
		o.wantState("f", ioctl.StateWhiteout, 0)
		o.want(o.mount.IsRestorable(o.merged("f")), 0)
		o.wantAbsent("f")

		o.restore("f")
		o.wantWhiteout("f", false)
		o.wantLower("f")
		o.wantState("f", ioctl.StateNone, 0)
		o.wantNames("", "d", "f", "other")
		o.want(o.tryRestore("f"), unix.EEXIST)
		o.restore("d/f")
		o.wantLower("d/f")
		o.wantNames("d", "f")

		o.remount()
		o.wantLower("f")
		o.wantLower("d/f")
		o.write(o.merged("f"), "changed")
		o.wantContent("f", "changed")
		o.wantState("f", ioctl.StateUpper, 0)
	})
}

func TestRestoreDirectory(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("d/f", "d/sub/g")
		o.start()
		o.remove("d")
		o.wantAbsent("d")
		o.restore("d")
		o.wantNames("d", "f", "sub")
		o.wantLower("d/f")
		o.wantLower("d/sub/g")
		o.write(o.merged("d/sub/new"), "new")
		o.wantNames("d/sub", "g", "new")
	})
}

func TestDiscard(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("f", "g", "d/", "file-over-dir/x")
		o.start()
		o.want(o.tryDiscard("f"), unix.EEXIST)
		o.write(o.merged("f"), "changed")
		o.want(o.tryRestore("f"), unix.EEXIST)
		o.discard("f")
		o.wantLower("f")
		o.wantState("f", ioctl.StateNone, 0)

		// Another inode under the same name.
		o.remove("g")
		o.write(o.merged("g"), "new g")
		o.discard("g")
		o.wantLower("g")

		// A whiteout is restored as without the flag.
		o.remove("g")
		o.discard("g")
		o.wantLower("g")

		// Nothing is under it: it stays.
		o.write(o.merged("own"), "own")
		o.want(o.tryDiscard("own"), unix.ENODATA)
		o.wantContent("own", "own")
		o.must(os.Chmod(o.merged("d"), 0o700))
		o.want(o.tryDiscard("d"), unix.EISDIR)

		o.remove("file-over-dir")
		o.write(o.merged("file-over-dir"), "file")
		o.discard("file-over-dir")
		o.wantNames("file-over-dir", "x")
	})
}

func TestMagicLink(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f")
	o.start()
	o.remove("d/f")
	dir := o.openFile("d", unix.O_PATH|unix.O_DIRECTORY)
	o.must(o.mount.RestoreLower("/proc/self/fd/"+strconv.Itoa(int(dir.Fd()))+"/f", 0))
	o.wantLower("d/f")
}
