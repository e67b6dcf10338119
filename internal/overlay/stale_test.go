// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Somebody removed the whiteout by hand, under the mounted overlay: the muddle
// that this tool is to end.
func TestWhiteoutRemovedByHand(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f", "d/f")
		s.mount()
		s.remove("f", "d")
		s.wantAbsent("f", "d")
		s.must(os.Remove(s.inUpper("f")))
		s.must(os.Remove(s.inUpper("d")))

		results := s.restore(opts, "f", "d")

		wantAll(t, results, StatusDone)
		s.wantLower("f", "d/f")
		if opts.Method == MethodRemount && results[0].Action != ActRefresh {
			t.Errorf("action %s, want refresh", results[0].Action)
		}
	})
}

// The same path twice in one call, in several spellings, is one piece of work
// and no failure.
func TestSamePathTwice(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/f", "d/shadow", "link -> d", "e/x/f")
		s.mount()
		s.remove("d/f", "e/x/f")
		s.write("d/shadow", "edited")
		opts.Discard = true

		results := s.restore(opts, "d/f", "d/f", "d/f/", "d//f", "d/./f", "d/../d/f", "link/f",
			"d/shadow", "d/shadow", "link/shadow")

		wantAll(t, results, StatusDone)
		if len(results) != 10 {
			t.Errorf("%d results, want 10", len(results))
		}
		s.wantLower("d/f", "d/shadow")
		opts.Recursive = true
		wantAll(t, s.restore(opts, "e", "e/x", "e/x/f"), StatusDone)
		s.wantLower("e/x/f")
	})
}

// A parent that is deleted, or opaque, hides all below: the answer names it.
// Restored in the same call, before or after in the list, it brings them back.
func TestBelowHiddenParent(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("gone/sub/f", "opaque/sub/f", "other")
		s.mount()
		s.remove("gone", "opaque")
		s.must(os.Mkdir(s.merged("opaque"), 0o755))
		before := tree(t, s.Upper)

		for _, rel := range []string{"gone/sub/f", "gone/sub"} {
			results := s.restore(opts, rel)
			wantFailed(t, results, unix.ENOENT)
			hidden := asResult[*HiddenParentError](t, results)
			if hidden.Parent != s.merged("gone") || hidden.Opaque {
				t.Errorf("%s: %+v, want the deleted parent %s", rel, hidden, s.merged("gone"))
			}
		}
		hidden := asResult[*HiddenParentError](t, s.restore(opts, "opaque/sub"))
		if hidden.Parent != s.merged("opaque") || !hidden.Opaque {
			t.Errorf("%+v, want the opaque parent %s", hidden, s.merged("opaque"))
		}
		wantFailed(t, s.restore(opts, "opaque/sub/f"), unix.ENOENT)
		wantTree(t, s.Upper, before)

		wantAll(t, s.restore(opts, "gone", "gone/sub/f", "gone/sub"), StatusDone)
		s.wantLower("gone/sub/f")
	})
}

// A path of the lower that was never hidden, and one that exists nowhere.
func TestNothingToRestore(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("visible", "shadow", "d/f")
		s.mount()
		s.write("shadow", "edited")
		s.write("own", "own")
		s.write("d/own", "own")
		before := tree(t, s.Upper)

		for _, tt := range []struct {
			rel  string
			want NothingError
		}{
			{"visible", NothingError{Visible: true}},
			{"nowhere", NothingError{}},
			{"shadow", NothingError{State: 2}},
			{"own", NothingError{State: 2}},
			{"d", NothingError{State: 2, IsDir: true}},
		} {
			results := s.restore(opts, tt.rel)
			wantFailed(t, results, unix.EEXIST)
			if got := asResult[*NothingError](t, results); *got != tt.want {
				t.Errorf("%s: %+v, want %+v", tt.rel, *got, tt.want)
			}
		}
		// With names that a package lists it is no failure.
		opts.SkipVisible = true
		wantAll(t, s.restore(opts, "visible", "shadow", "d"), StatusSkipped)
		opts.SkipVisible, opts.Discard = false, true
		wantFailed(t, s.restore(opts, "own"), unix.ENODATA)
		wantFailed(t, s.restore(opts, "d"), unix.EEXIST)
		wantTree(t, s.Upper, before)
	})
}

// The image lost the file since: the whiteout goes, and the answer says that
// nothing came.
func TestOrphan(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("orphan", "d/orphan", "d/f")
		s.mount()
		s.remove("orphan", "d/orphan", "d/f")
		s.Unmount(t)
		s.must(os.Remove(s.inLower("orphan")))
		s.must(os.Remove(s.inLower("d/orphan")))
		s.mount()

		results := s.restore(opts, "orphan")

		wantFailed(t, results, unix.ENODATA)
		if !asResult[*NoLowerError](t, results).WhiteoutGone {
			t.Error("the error does not say that the whiteout is gone")
		}
		s.wantWhiteout("orphan", false)
		s.wantAbsent("orphan")
		// One that is no use to anybody does not spoil its neighbours.
		results = s.restore(opts, "d/orphan", "d/f")
		if results[1].Status != StatusDone {
			t.Errorf("%+v", results[1])
		}
		s.wantLower("d/f")
	})
}
