// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/test/faultpoint"
)

// scenarios are what the sweeps run in a process of its own.
var scenarios = map[string]func([]string) error{
	"drop": func(args []string) error { _, err := drop(args[0]); return err },
	"undo": func(args []string) error { return undo(args[0], args[1]) },
	"prune": func(args []string) error {
		upper, err := os.Open(args[0])
		if err != nil {
			return err
		}
		_, err = pruneTo(upper, args[0], 1)
		return err
	},
	"resume": func(args []string) error {
		_, err := resume(args[0])
		return err
	},
}

func resume(merged string) (resumed []Resumed, err error) {
	err = withSite(merged, func(s *Store, site *overlay.Site) error {
		resumed, err = s.Resume(context.Background(), site)
		if open, openErr := s.Interrupted(); open && err == nil {
			err = errors.Join(openErr, errors.New("a transaction is still open"))
		}
		return err
	})
	return resumed, err
}

// atEach sweeps over each call, or where there is little time over some.
func atEach(fault faultpoint.Fault) faultpoint.Fault {
	switch elsewhere := storesPlace().Dir != ""; {
	case inGuest() || testing.Short() && elsewhere:
		return fault.Every(29)
	case testing.Short():
		return fault.Every(9)
	case elsewhere:
		return fault.Every(3)
	}
	return fault
}

// states are the states of an overlay that may follow one another.
type states struct{ upper, seen map[string]string }

func look(t testing.TB, s *stage) states {
	t.Helper()
	return states{picture(t, s.Upper), picture(t, s.Merged)}
}

// checkEither makes sure that a stage is as before or as after, in the upper and
// in the merged view, and that nothing is lost.
func checkEither(t *testing.T, s *stage, stop faultpoint.Stop, before, after states) {
	t.Helper()
	got := look(t, s)
	diffBefore := cmp.Diff(before.upper, got.upper) + cmp.Diff(before.seen, got.seen)
	diffAfter := cmp.Diff(after.upper, got.upper) + cmp.Diff(after.seen, got.seen)
	if diffBefore != "" && (diffAfter != "" || stop.N > 0 && len(after.upper) == 0) {
		t.Errorf("%v: it is not as before:\n%s\nand not as after:\n%s", stop, diffBefore, diffAfter)
	}
	if stop.N == 0 && diffAfter != "" {
		t.Errorf("%v: it is not as after:\n%s", stop, diffAfter)
	}
	if missing := lost(t, s); len(missing) > 0 {
		t.Errorf("%v: lost: %q", stop, missing)
	}
}

// afterDrop is what dropping everything leaves, which is the same each time but
// for inodes.
func afterDrop(t *testing.T) states {
	t.Helper()
	s := worked(t)
	_, err := drop(s.Merged)
	s.must(err)
	return look(t, s)
}

// Wherever a process that drops entries is killed, the next run makes it as if it
// had not begun, or as if it had been let finish.
func TestKillDrop(t *testing.T) {
	after := withoutTimes(afterDrop(t))
	n := faultpoint.Sweep(t, atEach(faultpoint.Kill), func(t *testing.T) faultpoint.Scenario {
		s := worked(t)
		before := look(t, s)
		return faultpoint.Scenario{
			Program: faultpoint.Self("drop", s.Merged),
			Check: func(t *testing.T, stop faultpoint.Stop) {
				_, err := resume(s.Merged)
				s.must(err)
				if diff := cmp.Diff(after, withoutTimes(look(t, s)), cmp.AllowUnexported(states{})); diff == "" {
					return
				}
				if stop.N == 0 {
					t.Errorf("%v, exit code %d", stop, stop.Exit)
				}
				checkEither(t, s, stop, before, states{})
			},
		}
	})
	if n < 30 {
		t.Errorf("only %d calls", n)
	}
}

// withoutTimes leaves of a state what is the same in another directory.
func withoutTimes(s states) states {
	strip := func(m map[string]string) map[string]string {
		out := map[string]string{}
		for rel := range m {
			out[rel] = ""
		}
		return out
	}
	return states{strip(s.upper), strip(s.seen)}
}

// Whatever call fails, nothing is lost, and all can be brought back.
func TestFailDrop(t *testing.T) {
	faultpoint.Sweep(t, atEach(faultpoint.Fail(unix.EIO)), func(t *testing.T) faultpoint.Scenario {
		s := worked(t)
		before := look(t, s)
		return faultpoint.Scenario{
			Program: faultpoint.Self("drop", s.Merged),
			Check: func(t *testing.T, stop faultpoint.Stop) {
				_, err := resume(s.Merged)
				s.must(err, withSite(s.Merged, func(store *Store, site *overlay.Site) error {
					infos, err := store.Transactions()
					for _, info := range infos {
						if info.State == StateDone {
							_, undoErr := store.Undo(context.Background(), site, info.ID, UndoOptions{})
							err = errors.Join(err, undoErr)
						}
					}
					return err
				}))
				checkEither(t, s, faultpoint.Stop{N: 1}, before, states{})
			},
		}
	})
}

// The same for an undo.
func TestKillUndo(t *testing.T) {
	faultpoint.Sweep(t, atEach(faultpoint.Kill), func(t *testing.T) faultpoint.Scenario {
		s := worked(t)
		after := look(t, s)
		id, err := drop(s.Merged)
		s.must(err)
		before := look(t, s)
		return faultpoint.Scenario{
			Program: faultpoint.Self("undo", s.Merged, id),
			Check: func(t *testing.T, stop faultpoint.Stop) {
				_, err := resume(s.Merged)
				s.must(err)
				checkEither(t, s, stop, before, after)
				// It is not in the way of doing it again.
				s.must(undo(s.Merged, id))
				checkEither(t, s, faultpoint.Stop{}, before, after)
			},
		}
	})
}

// And for rolling back what was killed: however often that is killed itself.
func TestKillResume(t *testing.T) {
	faultpoint.Sweep(t, atEach(faultpoint.Kill), func(t *testing.T) faultpoint.Scenario {
		s := worked(t)
		before := look(t, s)
		interrupted(t, s)
		return faultpoint.Scenario{
			Program: faultpoint.Self("resume", s.Merged),
			Check: func(t *testing.T, stop faultpoint.Stop) {
				resumed, err := resume(s.Merged)
				s.must(err)
				if stop.N == 0 && len(resumed) > 0 {
					t.Errorf("%v: then resumed %+v", stop, resumed)
				}
				checkEither(t, s, stop, before, before)
			},
		}
	})
}

// interrupted drops everything, and is killed just before it is done.
func interrupted(t testing.TB, s *stage) {
	t.Helper()
	_, err := drop(s.Merged)
	s.must(err)
	s.must(withSite(s.Merged, func(store *Store, _ *overlay.Site) error {
		ids, err := store.ids()
		s.must(err)
		log := s.storePath() + "/tx/" + ids[0] + "/log.jsonl"
		data, err := os.ReadFile(log)
		s.must(err)
		return os.WriteFile(log, data[:len(data)-10], 0o600)
	}))
}

// Somebody may use the overlay before the next run. What they made stays, and what
// was dropped in its place can still be brought back.
func TestResumeFindsChanges(t *testing.T) {
	s := worked(t)
	before := picture(t, s.Upper)
	interrupted(t, s)
	s.write(s.merged("edited"), "user, once more")
	resumed, err := resume(s.Merged)
	s.must(err)
	if len(resumed) != 1 {
		t.Fatalf("%+v", resumed)
	}
	var changed []string
	for _, r := range resumed[0].Results {
		if r.Err != nil {
			changed = append(changed, r.Path)
		}
	}
	if diff := cmp.Diff([]string{"edited"}, changed); diff != "" {
		t.Error(diff)
	}
	got := picture(t, s.Upper)
	if got["tree/a/b/c"] != before["tree/a/b/c"] || got["again"] != before["again"] {
		t.Errorf("not rolled back: %v", got)
	}
	s.must(os.Remove(s.inUpper("edited")))
	s.must(undo(s.Merged, resumed[0].ID))
	if diff := cmp.Diff(before, picture(t, s.Upper)); diff != "" {
		t.Error(diff)
	}
}
