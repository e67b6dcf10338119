// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// remountOnly are the tests of rules that a kernel with the ioctl knows better.
func remountOnly(t *testing.T, test func(t *testing.T, s *stage, opts RestoreOptions)) {
	t.Helper()
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		if opts.Method == MethodRemount {
			test(t, s, opts)
		}
	})
}

func wantConflict(t *testing.T, results []Result, other string) {
	t.Helper()
	conflict := asResult[*ConflictError](t, results)
	if conflict.Other != other || !errors.Is(results[0].Err, unix.EOPNOTSUPP) || results[0].Status != StatusFailed {
		t.Errorf("%s: %s: %+v, want a conflict with %q", results[0].Path, results[0].Status, conflict, other)
	}
}

// hasOrigin says whether this file system leaves origins at all; without them
// there is nothing to confuse.
func (s *stage) hasOrigin(rel string) bool {
	n, err := unix.Lgetxattr(s.inUpper(rel), s.xattr("origin"), nil)
	return err == nil && n > fbHeader
}

// A file that was copied up and renamed lives on with the lower inode as its
// origin: with the old name back, two names would share one inode.
func TestRenamedOriginIsAConflict(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/old", "free", "e/dropped")
		s.mount()
		s.write("d/old", "mine")
		s.must(os.Rename(s.merged("d/old"), s.merged("new")))
		s.write("e/dropped", "mine too")
		s.must(os.Rename(s.merged("e/dropped"), s.merged("e/other")))
		s.remove("free")
		if !s.hasOrigin("new") {
			// In a user name space the kernel keeps none: nothing to confuse.
			wantAll(t, s.restore(opts, "d/old"), StatusDone)
			s.wantLower("d/old")
			s.wantContent("new", "mine")
			return
		}
		before := tree(t, s.Upper)

		wantConflict(t, s.restore(opts, "d/old"), "new")
		wantTree(t, s.Upper, before)
		// One conflict does not stop the others.
		results := s.restore(opts, "free", "d/old")
		wantAll(t, results[:1], StatusDone)
		wantConflict(t, results[1:], "new")

		forced := opts
		forced.Force = true
		wantAll(t, s.restore(forced, "d/old"), StatusDone)
		s.wantListed("d/old", true)
		if data, err := os.ReadFile(s.inUpper("new")); err != nil || string(data) != "mine" {
			t.Errorf("the renamed file: %q, %v", data, err)
		}

		// The other name goes in the same call: no conflict is left.
		opts.Recursive, opts.Discard = true, true
		wantAll(t, s.restore(opts, "e"), StatusDone)
		s.wantLower("e/dropped")
		s.wantAbsent("e/other")
	})
}

// Hard-linked lower files do not share an inode with their copies, so there is
// no conflict: what the kernel shows is the proof.
func TestHardLinkedLowerWithoutIndex(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("a")
		s.must(os.Link(s.inLower("a"), s.inLower("b")))
		s.mount("index=off")
		s.write("a", "mine")
		s.remove("b")

		wantAll(t, s.restore(opts, "b"), StatusDone)

		s.wantContent("a", "mine")
		s.wantContent("b", contentIn(s.Lower, "a"))
		s.write("b", "other")
		s.wantContent("a", "mine")
		s.wantContent("b", "other")
	})
}

// With the index, links count across layers, and a whiteout removed behind the
// kernel's back would leave the count wrong.
func TestHardLinkedLowerWithIndex(t *testing.T) {
	needTrusted(t)
	s := newStage(t)
	s.fillLower("a", "c")
	s.must(os.Link(s.inLower("a"), s.inLower("b")))
	s.mount("index=on")
	s.remove("b", "c")
	before := tree(t, s.Upper)
	opts := RestoreOptions{Method: MethodRemount}

	wantConflict(t, s.restore(opts, "b"), "")
	wantTree(t, s.Upper, before)
	wantAll(t, s.restore(opts, "c"), StatusDone)
	opts.Force = true
	// Forced, the entry comes back; its link count is wrong, as was said.
	if r := s.restore(opts, "b")[0]; r.Status == StatusFailed {
		t.Errorf("forced: %+v", r)
	}
	s.wantWhiteout("b", false)
	s.wantContent("b", contentIn(s.Lower, "a"))
}

func TestNFSExportIsAConflict(t *testing.T) {
	needTrusted(t)
	s := newStage(t)
	s.fillLower("f", "d/f")
	s.mount("index=on", "nfs_export=on", "redirect_dir=nofollow")
	s.remove("f", "d")
	before := tree(t, s.Upper)
	opts := RestoreOptions{Method: MethodRemount}
	wantConflict(t, s.restore(opts, "f"), "")
	wantConflict(t, s.restore(opts, "d"), "")
	wantTree(t, s.Upper, before)
	// The index says that they are deleted, for good: with the whiteout gone,
	// the kernel would answer EIO. No force helps.
	opts.Force = true
	if wantConflict(t, s.restore(opts, "f"), ""); !asResult[*ConflictError](t, s.restore(opts, "d")).Final {
		t.Error("the conflict does not say that it is final")
	}
	wantTree(t, s.Upper, before)
}

// A renamed directory is merged with the lower one under its new name.
func TestRenamedDirectoryIsAConflict(t *testing.T) {
	needTrusted(t)
	s := newStage(t)
	s.fillLower("d/old/f", "other", "y/one/f")
	s.mount("redirect_dir=on")
	s.must(os.Rename(s.merged("d/old"), s.merged("new")))
	before := tree(t, s.Upper)
	opts := RestoreOptions{Method: MethodRemount}

	wantConflict(t, s.restore(opts, "d/old"), "new")

	wantTree(t, s.Upper, before)
	s.wantNames("new", "f")
	// The same by its relative form, within one directory.
	s.must(os.Rename(s.merged("y/one"), s.merged("y/two")))
	wantConflict(t, s.restore(opts, "y/one"), "y/two")
	opts.Force = true
	r := s.restore(opts, "y/one")[0]
	_, err := os.ReadFile(s.merged("y/one/f"))
	if (r.Status == StatusDone) != (err == nil) {
		t.Errorf("forced: %+v, and reading below it: %v", r, err)
	}
	s.wantWhiteout("y/one", false)
	s.wantNames("y/two", "f")
}

func TestOriginKeyReadsTheKernelsOwn(t *testing.T) {
	for _, bad := range []string{"", "\x00", "\x00\xfb", "\x00\xfb\x20\x00\x01" + "0123456789abcdef", "\x00\xfa\x20\x00\x01" + "0123456789abcdefFID"} {
		if key := originKey([]byte(bad)); key != "" {
			t.Errorf("originKey(%q) = %q, want none", bad, key)
		}
	}
	if got, want := originKey([]byte("\x00\xfb\x18\x00\x01"+"0123456789abcdef"+"FID")), handleKey(1, []byte("FID")); got != want {
		t.Errorf("originKey = %q, want %q", got, want)
	}
}
