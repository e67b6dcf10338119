// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// What holds of a small tree holds of a large one, which is done a piece at a
// time: here, each entry is a piece.
func TestTreesInPieces(t *testing.T) {
	defer func(n int) { settleJobs = n }(settleJobs)
	settleJobs = 1
	for name, test := range map[string]func(*testing.T){
		"deletions":        TestRecursiveRestoresEveryDeletion,
		"discard":          TestRecursiveDiscardEqualsTheLower,
		"spellings":        TestRecursiveOnSpellingsOfADirectory,
		"bind":             TestBindOverADirectory,
		"walk meets bind":  TestWalkMeetsABind,
		"mount inside":     TestMountInsideTheOverlay,
		"renamed file":     TestRenamedOriginIsAConflict,
		"renamed dir":      TestRecursiveDropsRedirectedDirectories,
		"drop in two dirs": TestConflictsAcrossPieces,
	} {
		t.Run(name, test)
	}
}

// A renamed file lies far from the name that it had. Where it is dropped in the
// same call, the other comes back, also if it is looked at first; where it is
// not, that is a conflict. A dry run says the same.
func TestConflictsAcrossPieces(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("a/old", "a/own", "b/x", "c/gone", "z/x")
		s.mount()
		s.write("a/old", "mine")
		s.must(os.Rename(s.merged("a/old"), s.merged("z/new")))
		s.write("a/own", "edited")
		s.remove("c/gone")
		opts.Recursive, opts.DryRun = true, true
		if s.hasOrigin("z/new") {
			wantStatuses(t, s.restore(opts, "a", "c"), map[string]Status{
				s.merged("a/old"): StatusFailed, s.merged("a/own"): StatusKept, s.merged("c/gone"): StatusPlanned,
			})
		}
		opts.Discard = true
		all := map[string]Status{}
		for _, rel := range []string{"a/old", "a/own", "c/gone", "z/new"} {
			all[s.merged(rel)] = StatusPlanned
		}
		wantStatuses(t, s.restore(opts, "a", "c", "z"), all)
		wantStatuses(t, s.restore(opts, "."), withRoot(s, all))

		opts.DryRun = false
		for path := range all {
			all[path] = StatusDone
		}
		wantStatuses(t, s.restore(opts, "."), withRoot(s, all))
		s.wantLower("a/old", "a/own", "c/gone")
		s.wantAbsent("z/new")
	})
}

// withRoot are the same paths as they are called below the root with a dot.
func withRoot(s *stage, all map[string]Status) map[string]Status {
	named := map[string]Status{}
	for path, status := range all {
		named[s.merged(".")+path[len(s.Merged):]] = status
	}
	return named
}

func wantStatuses(t *testing.T, results []Result, want map[string]Status) {
	t.Helper()
	got := map[string]Status{}
	for _, r := range results {
		got[r.Path] = r.Status
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What was found is repaired a piece at a time, and the check goes on.
func TestRepairingInPieces(t *testing.T) {
	defer func(n int) { settleJobs = n }(settleJobs)
	settleJobs = 1
	s := newCheckStage(t)
	fill(t, s.Upper, "own/f")
	for _, rel := range []string{"a", "own/exposed", "own/too", "z"} {
		s.whiteout(rel)
	}
	s.mount()
	s.live()
	o := s.open()
	pieces := 0
	var repaired []string
	k := s.keep()
	_, err := o.Check(context.Background(), CheckOptions{Found: func(findings []Finding) error {
		if len(findings) > 0 {
			pieces++
		}
		err := o.Repair(context.Background(), findings, RepairOptions{Keeper: k.open})
		for _, f := range findings {
			if f.Repaired {
				repaired = append(repaired, f.Path)
			}
		}
		return err
	}})
	s.must(err)
	wantLines(t, repaired, "a", "z", "own/exposed", "own/too")
	if pieces != 2 {
		t.Errorf("%d pieces, want one for each directory", pieces)
	}
	wantFound(t, s.check())
}
