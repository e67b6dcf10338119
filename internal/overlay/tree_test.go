// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// All that deviates, of every kind, goes back to the image at once, and what the
// user made is kept without Discard.
func TestRecursiveRestoresEveryDeletion(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("a/f", "a/b/g", "a/b/h", "c/x", "file-to-dir", "dir-to-file/x", "opaque/x", "opaque/y/z", "same")
		s.mount()
		s.remove("a/f", "a/b/g", "c", "file-to-dir", "dir-to-file", "opaque")
		s.must(os.MkdirAll(s.merged("opaque/y"), 0o755))
		s.write("opaque/y/own", "own")
		s.must(os.Mkdir(s.merged("file-to-dir"), 0o755))
		s.write("file-to-dir/own", "own")
		s.write("dir-to-file", "own")
		s.write("a/own", "own")
		s.must(os.Chmod(s.merged("a/b"), 0o700))
		opts.Recursive = true
		opts.Keeper = s.keep().open

		results := s.restore(opts, ".")

		kept := map[string]bool{}
		for _, r := range results {
			switch r.Status {
			case StatusDone:
			case StatusKept:
				kept[r.Path] = true
			default:
				t.Errorf("%+v", r)
			}
		}
		for _, rel := range []string{"a/own", "dir-to-file", "file-to-dir", "opaque/y/own"} {
			if !kept[s.merged(".")+"/"+rel] {
				t.Errorf("%s is not among what was kept: %v", rel, kept)
			}
		}
		s.wantLower("a/f", "a/b/g", "c/x", "opaque/x", "opaque/y/z", "same")
		for _, rel := range []string{"a/own", "dir-to-file", "file-to-dir/own", "opaque/y/own"} {
			s.wantContent(rel, "own")
		}
		s.wantNames("opaque", "x", "y")
		s.wantNames("opaque/y", "own", "z")
	})
}

// With Discard the merged view equals the lower afterwards, and the backup has
// every file that was dropped.
func TestRecursiveDiscardEqualsTheLower(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("a/f", "a/b/g", "file-to-dir", "dir-to-file/x", "opaque/x", "shadow", "link -> a")
		before := tree(t, s.Lower)
		s.mount()
		s.remove("a/f", "file-to-dir", "dir-to-file", "opaque", "link")
		s.must(os.Mkdir(s.merged("opaque"), 0o755))
		s.write("opaque/own", "own1")
		s.must(os.MkdirAll(s.merged("file-to-dir/sub"), 0o755))
		s.write("file-to-dir/sub/own", "own2")
		s.write("dir-to-file", "own3")
		s.write("shadow", "own4")
		s.must(os.MkdirAll(s.merged("new/sub"), 0o755))
		s.write("new/sub/own", "own5")
		s.must(os.Symlink("/etc/passwd", s.merged("link")))
		s.must(unix.Mkfifo(s.merged("a/pipe"), 0o600))
		opts.Recursive, opts.Discard = true, true

		results := s.restore(opts, "")

		wantAll(t, results, StatusDone)
		wantTree(t, s.Merged, before)
		wantTree(t, s.Lower, before)
		saved := map[string]bool{}
		for _, text := range tree(t, s.keep().path) {
			for _, own := range []string{"own1", "own2", "own3", "own4", "own5"} {
				if len(text) > 6 && text[len(text)-6:] == `"`+own+`"` {
					saved[own] = true
				}
			}
		}
		if len(saved) != 5 {
			t.Errorf("files in the backup: %v, want all five", saved)
		}
		// Nothing is left to do.
		for _, r := range s.restore(opts, "") {
			t.Errorf("a second run: %+v", r)
		}
	})
}

// A directory may be named in every way that leads to it.
func TestRecursiveOnSpellingsOfADirectory(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/e/f", "d/e/d/e/f", "other", "link -> d")
		s.mount()
		opts.Recursive = true
		for _, rel := range []string{"d/e", "d/e/", "d/e/.", "d/e/d/..", "link/e", "d/../d/e", "d//e", "./d"} {
			s.remove("d/e/f", "d/e/d/e/f", "other")
			wantAll(t, s.restore(opts, rel), StatusDone)
			s.wantLower("d/e/f", "d/e/d/e/f")
			s.wantAbsent("other")
		}
		// The link itself is the lower's; what it leads to was not asked for.
		s.remove("d/e/f")
		wantFailed(t, s.restore(opts, "link"), unix.EEXIST)
		s.wantAbsent("d/e/f")
		wantAll(t, s.restore(opts, "d/e/f"), StatusDone)
	})
}

// A directory of the overlay is bound over another one: a path below the second
// leads to the first, and nothing may be dropped there because of what the
// upper has here.
func TestBindOverADirectory(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("here/f", "here/sub/f", "there/f", "there/sub/f")
		s.mount()
		s.remove("here/f", "there/f")
		for _, rel := range []string{"here/own", "here/sub/own", "there/own", "there/sub/own"} {
			s.write(rel, "own")
		}
		namespace.Mount(t, s.merged("there"), s.merged("here"), "", unix.MS_BIND, "")
		before := tree(t, s.Upper)
		opts.Recursive, opts.Discard = true, true

		for _, r := range s.restore(opts, "here") {
			// The bind shows there, so this restores there.
			if r.Status == StatusDone && r.Path != s.merged("here/f") && r.Path != s.merged("here/own") && r.Path != s.merged("here/sub/own") {
				t.Errorf("%+v", r)
			}
		}
		s.wantWhiteout("here/f", true)
		after := tree(t, s.Upper)
		for _, rel := range []string{"here/f", "here/own", "here/sub/own"} {
			if after[rel] != before[rel] {
				t.Errorf("%s in the upper was %q, is %q", rel, before[rel], after[rel])
			}
		}
	})
}

// The same, where the walk comes from above and meets the bind on its way.
func TestWalkMeetsABind(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("a/here/f", "b/there/f", "other/f")
		s.mount()
		s.remove("a/here/f", "b/there/f", "other/f")
		s.write("a/here/own", "mine")
		s.write("b/there/own", "yours")
		namespace.Mount(t, s.merged("b/there"), s.merged("a/here"), "", unix.MS_BIND, "")
		before := tree(t, s.inUpper("b"))
		opts.Recursive, opts.Discard = true, true

		results := s.restore(opts, "a")

		if len(results) == 0 {
			t.Error("no word of what lies under the bind")
		}
		wantAll(t, results, StatusFailed)
		wantTree(t, s.inUpper("b"), before)
		s.wantWhiteout("a/here/f", true)
		if data, err := os.ReadFile(s.inUpper("a/here/own")); err != nil || string(data) != "mine" {
			t.Errorf("what lies under the bind: %q, %v", data, err)
		}
	})
}

// A bind over an opaque directory: that the directory itself is where its path
// leads says nothing about what is in it.
func TestWalkMeetsABindOverAnOpaqueDirectory(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("a/here/f", "b/own")
		s.mount()
		s.remove("a/here")
		s.must(os.Mkdir(s.merged("a/here"), 0o755))
		s.write("a/here/own", "mine")
		s.write("b/own", "yours")
		namespace.Mount(t, s.merged("b"), s.merged("a/here"), "", unix.MS_BIND, "")
		opts.Recursive, opts.Discard = true, true

		for _, r := range s.restore(opts, "a") {
			if r.Path != s.merged("a/here") && r.Status != StatusFailed {
				t.Errorf("%+v, want %s", r, StatusFailed)
			}
		}
		s.wantContent("b/own", "yours")
		if data, err := os.ReadFile(s.inUpper("a/here/own")); err != nil || string(data) != "mine" {
			t.Errorf("what lies under the bind: %q, %v", data, err)
		}
	})
}

// Another file system is mounted inside the overlay.
func TestMountInsideTheOverlay(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/m/f", "d/g")
		s.mount()
		s.remove("d/m/f", "d/g")
		namespace.Mount(t, "tmpfs", s.merged("d/m"), "tmpfs", 0, "")
		fill(t, s.merged("d/m"), "f")

		wantFailed(t, s.restore(opts, "d/m/f"), unix.EXDEV)
		opts.SkipVisible = true
		wantAll(t, s.restore(opts, "d/m/f"), StatusSkipped)
		opts.SkipVisible, opts.Recursive, opts.Discard = false, true, true
		for _, r := range s.restore(opts, "") {
			switch want := StatusFailed; r.Path {
			case s.merged("d/g"):
				want = StatusDone
				fallthrough
			default:
				if r.Status != want {
					t.Errorf("%+v, want %s", r, want)
				}
			}
		}
		s.wantLower("d/g")
		s.wantWhiteout("d/m/f", true)
		s.wantContent("d/m/f", "m:f")
	})
}

// A directory that was renamed keeps its lower under the new name; with it
// dropped, both names are the image's again.
func TestRecursiveDropsRedirectedDirectories(t *testing.T) {
	needTrusted(t)
	for _, method := range []Method{MethodRemount, MethodAuto} {
		t.Run(string(method), func(t *testing.T) {
			s := newStage(t)
			s.fillLower("old/f", "old/sub/g", "taken/x")
			before := tree(t, s.Lower)
			s.mount("redirect_dir=on")
			s.must(os.Rename(s.merged("old"), s.merged("new")))
			s.write("new/own", "own")
			s.remove("taken")
			s.must(os.Rename(s.merged("new/sub"), s.merged("taken")))
			opts := RestoreOptions{Method: method, Recursive: true, Discard: true}

			results := s.restore(opts, "")

			wantAll(t, results, StatusDone)
			wantTree(t, s.Merged, before)
			found := false
			for _, text := range tree(t, s.keep().path) {
				found = found || text == `100644 0:0 "own"`
			}
			if !found {
				t.Error("the file in the renamed directory is not in the backup")
			}
		})
	}
}
