// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func readAll(t testing.TB, f *os.File) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		t.Errorf("read the open file: %v", err)
	}
	return string(b)
}

// wantNew asserts that a restored file is not the removed one come back.
func (o *overlay) wantNew(name string) {
	o.t.Helper()
	o.wantLower(name)
	if st := o.stat(name); st.Nlink != 1 {
		o.t.Errorf("%s has %d links, want 1", name, st.Nlink)
	}
	o.must(os.Link(o.merged(name), o.merged(name+".link")))
	o.wantContent(name+".link", "lower "+name)
	o.remove(name + ".link")
}

// The removed file is open: as it came from the lower layer, or copied up.
func TestRestoreWhileRemovedFileIsOpen(t *testing.T) {
	fill := func(o *overlay) { o.layer("f", "g") }
	onEachConfig(t, fill, func(o *overlay, _ config) {
		f := o.openFile("f", os.O_RDONLY)
		o.must(os.WriteFile(o.merged("g"), []byte("changed g"), 0))
		g := o.openFile("g", os.O_RDWR)
		o.remove("f")
		o.remove("g")

		o.restore("f")
		o.restore("g")
		o.wantNew("f")
		o.wantNew("g")

		// The open files go on as they were.
		if got := readAll(o.t, f); got != "lower f" {
			o.t.Errorf("open f holds %q", got)
		}
		if got := readAll(o.t, g); got != "changed g" {
			o.t.Errorf("open g holds %q", got)
		}
		_, err := g.WriteAt([]byte("CHANGED"), 0)
		o.must(err)
		o.wantLower("g")
		o.write(o.merged("g"), "changed again")
		if got := readAll(o.t, g); got != "CHANGED g" {
			o.t.Errorf("open g holds %q after a write to the restored one", got)
		}
	})
}

// The removed directory is somebody's current directory.
func TestRestoreWhileRemovedDirectoryIsInUse(t *testing.T) {
	fill := func(o *overlay) { o.layer("d/", "e/", "h/f") }
	onEachConfig(t, fill, func(o *overlay, c config) {
		o.must(os.Chmod(o.merged("e"), 0o700))
		e := o.openFile("e", unix.O_DIRECTORY)
		h := o.openFile("h", unix.O_DIRECTORY)
		o.t.Chdir(o.merged("d"))
		o.remove("d")
		o.remove("e")
		o.remove("h")

		for _, dir := range []string{"d", "e", "h"} {
			if dir == "h" && c.nfsExport() {
				o.want(o.mount.IsRestorable(o.merged(dir)), unix.EOPNOTSUPP)
				o.want(o.tryRestore(dir), unix.EOPNOTSUPP)
				o.wantWhiteout(dir, true)
				continue
			}
			o.restore(dir)
			if o.stat(dir).Mode&0o777 != 0o755 {
				o.t.Errorf("%s has mode %o of the removed one", dir, o.stat(dir).Mode)
			}
			o.write(o.merged(dir+"/new"), "new")
			o.wantContent(dir+"/new", "new")
			o.must(os.Mkdir(o.merged(dir+"/newdir"), 0o755))
			if dir == "h" {
				o.wantNames(dir, "f", "new", "newdir")
			} else {
				o.wantNames(dir, "new", "newdir")
			}
		}
		// The removed ones stay dead.
		_, err := os.Create("x")
		o.want(err, unix.ENOENT)
		for _, dir := range []*os.File{e, h} {
			_, err = unix.Openat(int(dir.Fd()), "x", unix.O_CREAT|unix.O_WRONLY, 0o644)
			o.want(err, unix.ENOENT)
		}
	})
}

// A renamed file keeps its data, and the restored one is the lower one.
func TestRestoreOriginOfRenamedFile(t *testing.T) {
	fill := func(o *overlay) { o.layer("f", "dir/", "other/x") }
	onEachConfig(t, fill, func(o *overlay, c config) {
		o.rename("f", "dir/g")
		if c.nfsExport() {
			o.want(o.tryRestore("f"), unix.EBUSY)
			o.want(o.mount.IsRestorable(o.merged("f")), unix.EBUSY)
			o.wantContent("dir/g", "lower f")
			return
		}
		o.restore("f")
		want := "lower f"
		check := func() {
			o.t.Helper()
			o.wantLower("f")
			o.wantContent("dir/g", want)
			o.wantDistinct("f", "dir/g")
			o.wantNames("dir", "g")
		}
		o.orders(c, "f", "dir/g", check)

		// Neither sees what is written to the other.
		o.must(os.WriteFile(o.merged("dir/g"), []byte("changed g"), 0))
		want = "changed g"
		o.orders(c, "f", "dir/g", check)
		o.must(os.WriteFile(o.merged("f"), []byte("changed f"), 0))
		o.orders(c, "f", "dir/g", func() {
			o.t.Helper()
			o.wantContent("f", "changed f")
			o.wantContent("dir/g", "changed g")
			o.wantDistinct("f", "dir/g")
		})
		// And again, now that both are in upper.
		if c.index() {
			return
		}
		o.discard("f")
		o.orders(c, "f", "dir/g", check)
	})
}

// Both are open and written to in turn, without anything evicted between.
func TestRenamedAndRestoredWriteThrough(t *testing.T) {
	fill := func(o *overlay) { o.layer("f") }
	onEachConfig(t, fill, func(o *overlay, c config) {
		if c.nfsExport() {
			return
		}
		g := o.openFile("f", os.O_RDONLY)
		o.rename("f", "g")
		o.restore("f")
		f := o.openFile("f", os.O_RDONLY)
		o.must(os.Chmod(o.merged("f"), 0o600))
		if mode := o.stat("g").Mode & 0o777; mode != 0o644 {
			o.t.Errorf("chmod of f made g's mode %o", mode)
		}
		o.must(os.WriteFile(o.merged("f"), []byte("changed f"), 0))
		o.wantContent("g", "lower f")
		o.must(os.WriteFile(o.merged("g"), []byte("changed g"), 0))
		o.wantContent("f", "changed f")
		if got := readAll(o.t, f); got != "changed f" {
			o.t.Errorf("the open f holds %q", got)
		}
		if got := readAll(o.t, g); got != "changed g" {
			o.t.Errorf("the open g holds %q", got)
		}
	})
}

// One of two hard links of a copied up file is discarded.
func TestDiscardOneOfTwoLinks(t *testing.T) {
	fill := func(o *overlay) { o.layer("f") }
	onEachConfig(t, fill, func(o *overlay, c config) {
		o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
		o.must(os.Link(o.merged("f"), o.merged("g")))
		if c.nfsExport() {
			o.want(o.tryDiscard("f"), unix.EOPNOTSUPP)
			o.wantContent("f", "changed")
			return
		}
		o.discard("f")
		check := func() {
			o.t.Helper()
			o.wantLower("f")
			o.wantContent("g", "changed")
			o.wantDistinct("f", "g")
		}
		o.orders(c, "f", "g", check)
		o.must(os.WriteFile(o.merged("f"), []byte("other"), 0))
		o.orders(c, "f", "g", func() {
			o.t.Helper()
			o.wantContent("f", "other")
			o.wantContent("g", "changed")
			o.wantDistinct("f", "g")
		})
		// Links of an alias are links of one file.
		o.must(os.Link(o.merged("f"), o.merged("h")))
		o.orders(c, "g", "h", func() {
			o.t.Helper()
			sf, sh := o.stat("f"), o.stat("h")
			if sf.Ino != sh.Ino || sf.Nlink != 2 || sh.Nlink != 2 {
				o.t.Errorf("f: inode %d, %d links; h: inode %d, %d links", sf.Ino, sf.Nlink, sh.Ino, sh.Nlink)
			}
			o.must(os.WriteFile(o.merged("h"), []byte("by h"), 0))
			o.wantContent("f", "by h")
			o.must(os.WriteFile(o.merged("f"), []byte("other"), 0))
			o.wantContent("h", "other")
			o.wantContent("g", "changed")
		})
		// Also when g, which was looked up first, has left the cache.
		o.dropCaches()
		o.stat("g")
		o.openFile("f", os.O_RDONLY)
		o.dropCaches()
		if sh, sf := o.stat("h"), o.stat("f"); sf.Ino != sh.Ino {
			o.t.Errorf("f, which is open: inode %d; h: inode %d", sf.Ino, sh.Ino)
		}
	})
}

// A directory was renamed, with everything below it still in the lower layer.
func TestRestoreOriginOfRedirectedDirectory(t *testing.T) {
	fill := func(o *overlay) { o.layer("d/sub/deep/f", "d/sub/g", "d/h", "to/") }
	for _, warm := range []bool{false, true} {
		name := "cold"
		if warm {
			name = "warm"
		}
		t.Run(name, func(t *testing.T) {
			onEachConfig(t, fill, func(o *overlay, c config) {
				if !c.redirects() {
					return
				}
				if warm {
					o.wantLower("d/sub/deep/f")
				}
				o.rename("d", "to/e")
				if warm {
					o.wantContent("to/e/sub/deep/f", "lower d/sub/deep/f")
				}
				o.restore("d")
				o.testTwins(c)
			})
		})
	}
}

// testTwins asserts that d and to/e, which have the same lower directory, are
// two trees.
func (o *overlay) testTwins(c config) {
	o.t.Helper()
	pairs := []string{"", "/sub", "/sub/deep", "/sub/deep/f", "/sub/g", "/h"}
	want := map[string]string{}
	for _, p := range pairs[3:] {
		want["d"+p] = "lower d" + p
		want["to/e"+p] = "lower d" + p
	}
	check := func() {
		o.t.Helper()
		for name, content := range want {
			o.wantContent(name, content)
		}
		for _, p := range pairs {
			o.wantDistinct("d"+p, "to/e"+p)
		}
	}
	o.orders(c, "d/sub/deep/f", "to/e/sub/deep/f", check)

	change := func(name, content string) {
		o.t.Helper()
		o.must(os.WriteFile(o.merged(name), []byte(content), 0o644))
		want[name] = content
		o.orders(c, "d/sub/deep/f", "to/e/sub/deep/f", check)
	}
	change("d/sub/deep/f", "changed by d")
	change("to/e/sub/deep/f", "changed by e")
	change("d/sub/deep/new", "new")
	change("to/e/sub/g", "changed g")
	o.wantNames("to/e/sub/deep", "f")
	o.wantNames("d/sub/deep", "f", "new")

	o.remove("to/e/sub")
	o.wantNames("to/e", "h")
	o.wantNames("d/sub", "deep", "g")
	o.wantContent("d/sub/g", "lower d/sub/g")
	o.restore("to/e/sub")
	o.wantContent("to/e/sub/g", "lower d/sub/g")
	o.wantNames("to/e/sub/deep", "f")
	o.must(os.Mkdir(o.merged("to/e/sub/deep/made"), 0o755))
	o.wantNames("d/sub/deep", "f", "new")
}

// The origin of what is restored lies below a directory that was renamed.
func TestRestoreBelowRenamedDirectories(t *testing.T) {
	o := newOverlay(t)
	o.layer("a/d/sub/f")
	o.start("redirect_dir=on")
	o.rename("a/d", "e") // whiteout at a/d
	o.rename("a", "b")   // whiteout at a, and b/d is a whiteout
	o.restore("a")
	o.restore("b/d")
	c := config{options: []string{"redirect_dir=on"}}
	names := []string{"a/d/sub/f", "b/d/sub/f", "e/sub/f"}
	want := []string{"lower a/d/sub/f", "lower a/d/sub/f", "lower a/d/sub/f"}
	for round := range 4 {
		for i := range names {
			for j := range names {
				o.orders(c, names[i], names[j], func() {
					for i, name := range names {
						o.wantContent(name, want[i])
						o.wantDistinct(name, names[(i+1)%3])
					}
				})
			}
		}
		if round < 3 {
			want[round] = "changed " + names[round]
			o.must(os.WriteFile(o.merged(names[round]), []byte(want[round]), 0))
		}
	}
}

// Both of two names with the same lower origin are looked up at once, with
// everything below them.
func TestTwinsAreLookedUpAtOnce(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/sub/deep/f", "to/")
	o.start("redirect_dir=on")
	o.rename("d", "to/e")
	o.restore("d")
	for range 100 {
		o.dropCaches()
		done := make(chan error)
		for _, name := range []string{"d/sub/deep/f", "to/e/sub/deep/f"} {
			go func() {
				var st unix.Stat_t
				done <- unix.Lstat(o.merged(name), &st)
			}()
		}
		o.must(<-done)
		o.must(<-done)
		for _, p := range []string{"", "/sub", "/sub/deep", "/sub/deep/f"} {
			o.wantDistinct("d"+p, "to/e"+p)
		}
		if t.Failed() {
			return
		}
	}
}

// An image made of layers may have a directory by two names: its own, and one
// that a layer between redirects to it. What is below has no upper entry and no
// parent in common that tells the two apart.
func TestRedirectInLowerLayer(t *testing.T) {
	onEachFS(t, func(t *testing.T, o *overlay) {
		o.layer("d/sub/f", "d/g")
		middle := filepath.Join(filepath.Dir(o.Lower), "middle")
		o.must(os.MkdirAll(filepath.Join(middle, "x"), 0o755))
		o.must(unix.Setxattr(filepath.Join(middle, "x"), "trusted.overlay.redirect", []byte("/d"), 0))
		options := []string{"lowerdir=" + middle + ":" + o.Lower, "redirect_dir=on"}
		o.start(options...)
		want := map[string]string{}
		for _, name := range []string{"sub/f", "g"} {
			want["d/"+name], want["x/"+name] = "lower d/"+name, "lower d/"+name
		}
		check := func() {
			t.Helper()
			for _, name := range []string{"sub", "sub/f", "g"} {
				o.wantDistinct("d/"+name, "x/"+name)
			}
			for name, content := range want {
				o.wantContent(name, content)
			}
		}
		c := config{options: options}
		o.orders(c, "d/sub/f", "x/sub/f", check)
		for name := range want {
			want[name] = "changed " + name
			o.must(os.WriteFile(o.merged(name), []byte(want[name]), 0))
			o.orders(c, "d/sub/f", "x/sub/f", check)
		}
		o.discard("d/g")
		want["d/g"] = "lower d/g"
		o.remove("x/sub/f")
		o.restore("x/sub/f")
		want["x/sub/f"] = "lower d/sub/f"
		o.orders(c, "d/sub/f", "x/sub/f", check)
	})
}
