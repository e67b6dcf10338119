// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// elsewhere has the stores of a test on a file system of their own.
func elsewhere(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	namespace.Mount(t, "tmpfs", dir, "tmpfs", 0, "mode=0700"+options)
	if errors.Is(unix.Setxattr(dir, "user.test", nil, 0), unix.EOPNOTSUPP) {
		t.Skip("this kernel's tmpfs has no user.* attributes")
	}
	t.Setenv(storesVar, dir)
	return dir
}

// All that holds for a store beside the upper holds for one elsewhere.
func TestElsewhere(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"undo":       TestUndo,
		"paths":      TestUndoSomePaths,
		"changed":    TestUndoRefusesWhatChanged,
		"dry run":    TestUndoDryRun,
		"created":    TestUndoCreatedAndAttributes,
		"kill drop":  TestKillDrop,
		"kill undo":  TestKillUndo,
		"kill again": TestKillResume,
		"fail drop":  TestFailDrop,
	} {
		if sweeps := strings.HasPrefix(name, "kill") || strings.HasPrefix(name, "fail"); sweeps && inGuest() {
			continue // the store's place makes no difference to the kernel
		}
		t.Run(name, func(t *testing.T) {
			dir := elsewhere(t, "")
			test(t)
			if stores, err := os.ReadDir(dir); err != nil || len(stores) == 0 {
				t.Errorf("in the directory of the stores: %v, %v", stores, err)
			}
		})
	}
}

// A copy has all that the original has.
func TestCopyTree(t *testing.T) {
	dir := namespace.Disk(t)
	top := filepath.Join(dir, "top")
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(top+"/sub\n/deeper", 0o755), os.WriteFile(top+"/file", []byte("content"), 0o644))
	must(os.Link(top+"/file", top+"/sub\n/same"), os.Symlink("/nowhere\xff", top+"/link"))
	must(unix.Mkfifo(top+"/fifo", 0o620), unix.Mknod(top+"/white", unix.S_IFCHR, 0), unix.Mknod(top+"/socket", unix.S_IFSOCK|0o600, 0))
	must(os.WriteFile(top+"/suid", nil, 0o755), os.Chmod(top+"/suid", 0o4755|os.ModeSetuid))
	sparse, err := os.Create(top + "/sparse")
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 2<<20)
	must(err, sparse.Truncate(3<<20), sparse.Close())
	must(unix.Setxattr(top+"/sub\n", "user.test", []byte("a\x00b"), 0))
	if namespace.Privileged() {
		must(os.Lchown(top+"/link", 1, 2), os.Chown(top+"/suid", 3, 4), os.Chmod(top+"/suid", 0o755|os.ModeSetuid))
		must(unix.Mknod(top+"/device", unix.S_IFBLK|0o660, int(unix.Mkdev(7, 42))))
		// cap_net_raw, and an access list with a named user.
		must(unix.Setxattr(top+"/file", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
		must(unix.Setxattr(top+"/suid", "system.posix_acl_access", []byte("\x02\x00\x00\x00"+
			"\x01\x00\x07\x00\xff\xff\xff\xff"+"\x02\x00\x06\x00\x05\x00\x00\x00"+"\x04\x00\x05\x00\xff\xff\xff\xff"+
			"\x10\x00\x07\x00\xff\xff\xff\xff"+"\x20\x00\x05\x00\xff\xff\xff\xff"), 0))
		must(unix.Setxattr(top+"/sub\n/deeper", "trusted.overlay.opaque", []byte("y"), 0))
	}
	old := []unix.Timeval{{Sec: 1, Usec: 2}, {Sec: 3, Usec: 4}}
	must(unix.Lutimes(top+"/link", old), unix.Utimes(top+"/sub\n", old), unix.Utimes(top+"/sparse", old))

	parent, err := os.Open(dir)
	must(err)
	defer func() { _ = parent.Close() }()
	must(copyVerified(parent, "top", parent, "copy"))
	if diff := cmp.Diff(everythingOf(t, top), everythingOf(t, dir+"/copy")); diff != "" {
		t.Error(diff)
	}
	var st unix.Stat_t
	if must(unix.Stat(dir+"/copy/sparse", &st)); st.Blocks*512 > 1<<20 {
		t.Errorf("the copy of a sparse file takes %d bytes", st.Blocks*512)
	}
	var a, b unix.Stat_t
	if must(unix.Stat(dir+"/copy/file", &a), unix.Stat(dir+"/copy/sub\n/same", &b)); a.Ino != b.Ino || a.Nlink != 2 {
		t.Errorf("hard links: %d and %d, %d links", a.Ino, b.Ino, a.Nlink)
	}

	// What is not equal is found: in content of the same length, too.
	for _, change := range []func() error{
		func() error { return os.WriteFile(dir+"/copy/file", []byte("conteNt"), 0o644) },
		func() error { return os.Remove(dir + "/copy/fifo") },
		func() error { return unix.Setxattr(dir+"/copy/sub\n", "user.test", []byte("a\x00c"), 0) },
		func() error { return os.Chmod(dir+"/copy", 0o700) },
	} {
		must(copyVerified(parent, "top", parent, "copy"), sameTrees(parent, "top", parent, "copy"), change())
		if err := sameTrees(parent, "top", parent, "copy"); !errors.Is(err, errCopyDiffers) {
			t.Errorf("%v", err)
		}
	}
}

// everythingOf is picture with the times of directories.
func everythingOf(t *testing.T, top string) map[string]string {
	t.Helper()
	all := picture(t, top)
	for rel := range all {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(top, rel), &st); err != nil {
			t.Fatal(err)
		}
		all[rel] += fmt.Sprint(" ", st.Mtim)
	}
	return all
}

// A tree of 4,000 levels can be copied.
func TestCopyDeep(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/top", 0o755); err != nil {
		t.Fatal(err)
	}
	deepTree(t, dir+"/top", levels())
	parent, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Close() }()
	if err := copyVerified(parent, "top", parent, "copy"); err != nil {
		t.Fatal(err)
	}
	nodes := 0
	if err := walkTree(parent, "copy", func(*node) error { nodes++; return nil }); err != nil || nodes != levels()+2 {
		t.Errorf("%d entries, %v", nodes, err)
	}
	for _, name := range []string{"top", "copy"} { // what cleans up would not come so deep
		if err := removeTree(parent, name); err != nil {
			t.Error(err)
		}
	}
}

// The disk with the store is full: nothing is dropped.
func TestElsewhereFull(t *testing.T) {
	dir := elsewhere(t, ",size=256k")
	s := worked(t)
	s.must(os.WriteFile(s.merged("edited"), make([]byte, 1<<20), 0o644))
	before := picture(t, s.Upper)
	_, err := drop(s.Merged)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%v, want ENOSPC", err)
	}
	if got := picture(t, s.Upper); got["edited"] != before["edited"] {
		t.Errorf("edited: %s", got["edited"])
	}
	if n := len(picture(t, dir)); n == 0 {
		t.Error("no store")
	}
}

// Two uppers never share a store, and no name leads out of the directory.
func TestStoreName(t *testing.T) {
	names := map[string]string{}
	for _, path := range []string{"/data/a/b", "/data/a-b", "/data/a\\-b", "data-a-b", "/", "/a\n"} {
		name := StoreName(path)
		if strings.Contains(name, "/") || !strings.HasSuffix(name, Suffix) {
			t.Errorf("%q: %q", path, name)
		}
		if other, taken := names[name]; taken {
			t.Errorf("%q and %q: %q", path, other, name)
		}
		names[name] = path
	}
	dir := elsewhere(t, "")
	s := worked(t)
	s.must(os.Chmod(dir, 0o777))
	if _, err := drop(s.Merged); !errors.Is(err, unix.EPERM) {
		t.Errorf("a directory that anybody can write to: %v", err)
	}
}
