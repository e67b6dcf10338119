// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The union nlink of indexed hard links cannot be made right again.
func TestIndexedHardLinks(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("d/f", "plain/sub/x", "single", "deep/a/b/c/")
		o.must(os.Link(o.lower("d/f"), o.lower("g")))
		o.must(os.Link(o.lower("plain/sub/x"), o.lower("plain-link")))
		o.must(os.Link(o.lower("g"), o.lower("deep/a/b/c/h")))
		o.start("index=on")
		o.must(os.WriteFile(o.merged("g"), []byte("changed"), 0))

		refused := func(name string) {
			t.Helper()
			o.want(o.mount.IsRestorable(o.merged(name)), unix.EOPNOTSUPP)
			o.want(o.tryRestore(name), unix.EOPNOTSUPP)
			o.want(o.tryDiscard(name), unix.EOPNOTSUPP)
			o.wantWhiteout(name, true)
		}
		o.remove("d/f")
		refused("d/f")
		o.remove("d")
		refused("d")
		o.remove("deep")
		refused("deep")
		// The data that was changed is there until the last link goes.
		o.wantContent("g", "changed")
		o.want(o.tryDiscard("g"), unix.EOPNOTSUPP)
		o.wantContent("g", "changed")
		o.remove("g")
		refused("g")
		o.remount("index=on")
		refused("g")
		refused("d")

		o.remove("plain")
		refused("plain")
		o.wantContent("plain-link", "lower plain/sub/x")

		// Everything else is as without the index.
		o.remove("single")
		o.restore("single")
		o.wantLower("single")
	})
}

// Before one of them is copied up, and after: whoever looks at them sees one file.
func TestIndexedHardLinksAreOneFile(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("f", "d/")
		o.must(os.Link(o.lower("f"), o.lower("g")))
		o.must(os.Link(o.lower("f"), o.lower("d/h")))
		o.start("index=on")
		want := "lower f"
		check := func(names ...string) {
			t.Helper()
			o.dropCaches()
			first := o.stat(names[0])
			for _, name := range names {
				o.wantContent(name, want)
				if st := o.stat(name); st.Ino != first.Ino || st.Nlink != 3 {
					t.Errorf("%s: inode %d, %d links; %s: inode %d", name, st.Ino, st.Nlink, names[0], first.Ino)
				}
			}
		}
		check("f", "g", "d/h")
		check("d/h", "g", "f")
		// While one is in use the others are looked up.
		open := o.openFile("f", os.O_RDONLY)
		check("g", "d/h", "f")
		want = "changed"
		o.must(os.WriteFile(o.merged("d/h"), []byte(want), 0))
		check("f", "g", "d/h")
		check("g", "d/h", "f")
		if got := readAll(t, open); got != want {
			t.Errorf("the open file holds %q", got)
		}
	})
}

// A lower directory that was the upper of an overlay itself may have redirects
// in it, whose origins the index may know by another name.
func TestIndexedRedirect(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("d/sub/deep/f", "e/sub/f")
		o.must(unix.Setxattr(o.lower("d/sub/deep"), "trusted.overlay.redirect", []byte("/e/sub"), 0))
		for _, name := range []string{"d", "e"} {
			o.must(unix.Mknod(o.upper(name), unix.S_IFCHR, 0))
		}
		o.start("index=on", "redirect_dir=on")
		o.want(o.mount.IsRestorable(o.merged("d")), unix.EOPNOTSUPP)
		o.want(o.tryRestore("d"), unix.EOPNOTSUPP)
		o.wantWhiteout("d", true)
		o.restore("e")
		o.wantLower("e/sub/f")
	})
}

// Without the index, a copied up hard link is a file of its own.
func TestHardLinksWithoutIndex(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("f")
		o.must(os.Link(o.lower("f"), o.lower("g")))
		o.start()
		open := o.openFile("f", os.O_RDONLY)
		o.remove("f")
		o.restore("f")
		o.wantContent("f", "lower f")
		o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
		o.wantContent("g", "lower f")
		o.discard("f")
		o.wantContent("f", "lower f")
		if got := readAll(t, open); got != "lower f" {
			t.Errorf("the open file holds %q", got)
		}
	})
}

func TestNFSExport(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("f", "g", "over", "empty/", "full/f", "moved", "dir/")
		options := []string{"index=on", "nfs_export=on"}
		o.start(options...)

		// The whiteout index entry goes, again and again, also after a remount.
		for range 3 {
			o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
			o.remove("f")
			o.remove("g")
			o.remove("empty")
			o.remount(options...)
			o.want(o.mount.IsRestorable(o.merged("f")), 0)
			o.restore("f")
			o.restore("g")
			o.restore("empty")
			o.wantLower("f")
			o.wantLower("g")
			o.write(o.merged("empty/x"), "x")
			o.dropCaches()
			o.wantLower("f")
			o.wantLower("g")
			o.wantNames("empty", "x")
		}

		// What is below may have been removed one by one.
		o.remove("full")
		o.want(o.tryRestore("full"), unix.EOPNOTSUPP)
		o.wantWhiteout("full", true)

		// The origin is in use elsewhere.
		o.rename("moved", "dir/moved")
		o.want(o.tryRestore("moved"), unix.EBUSY)
		o.wantContent("dir/moved", "lower moved")

		// Copied up, hence indexed.
		o.must(os.WriteFile(o.merged("g"), []byte("changed"), 0))
		o.want(o.tryDiscard("g"), unix.EOPNOTSUPP)
		o.wantContent("g", "changed")

		// Written anew over the whiteout.
		o.remove("over")
		o.write(o.merged("over"), "new")
		o.discard("over")
		o.wantLower("over")
		o.remount(options...)
		o.wantLower("over")
		o.must(os.WriteFile(o.merged("over"), []byte("changed"), 0))
		o.wantContent("over", "changed")
	})
}

// A file that is open and has no name is found by its handle, as ever; after
// the restore the handle finds the restored file.
func TestNFSExportHandles(t *testing.T) {
	o := newOverlay(t)
	o.layer("f")
	o.start("index=on", "nfs_export=on")
	handle, mountID, err := unix.NameToHandleAt(unix.AT_FDCWD, o.merged("f"), 0)
	_ = mountID
	o.must(err)
	byHandle := func(content string) {
		t.Helper()
		fd, err := unix.OpenByHandleAt(int(o.dir.Fd()), handle, unix.O_RDONLY)
		if err != nil {
			t.Errorf("open by handle: %v", err)
			return
		}
		f := os.NewFile(uintptr(fd), "by handle")
		defer f.Close()
		if got := readAll(t, f); got != content {
			t.Errorf("opened by handle, it holds %q, want %q", got, content)
		}
	}
	byHandle("lower f")
	o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
	byHandle("changed")
	open := o.openFile("f", os.O_RDONLY)
	o.remove("f")
	byHandle("changed")
	o.restore("f")
	byHandle("lower f")
	if got := readAll(t, open); got != "changed" {
		t.Errorf("the open file holds %q", got)
	}
}
