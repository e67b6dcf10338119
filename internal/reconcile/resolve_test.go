// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

func (s *stage) resolve(rel string, useImage bool) error {
	s.t.Helper()
	t, release := s.target()
	defer release()
	results, err := Resolve(context.Background(), t, rel, useImage, s.runOptions())
	for _, r := range results {
		if r.Status != overlay.StatusDone {
			s.t.Errorf("%s: %s, %v", r.Rel, r.Status, r.Err)
		}
	}
	return err
}

func (s *stage) state() State {
	s.t.Helper()
	t, release := s.target()
	defer release()
	layers, err := t.layers()
	must(s.t, err)
	upper := layers.Upper()
	store, err := journal.View(upper.Root(), upper.Where)
	must(s.t, err)
	defer func() { must(s.t, store.Close()) }()
	st, err := readState(store)
	must(s.t, err)
	return st
}

// A device with three conflicts that were kept both ways.
func conflicts(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.image("1", tree{"etc/a": "a 1", "etc/b": "b 1", "etc/c": "-> c1"})
	s.image("2", tree{"etc/a": "a 2 mode=0640 x=y", "etc/b": "b 2", "etc/c": "-> c2"})
	s.boot("1")
	tree{"etc/a": "mine", "etc/b": "mine"}.write(t, s.Merged)
	must(t, os.Remove(s.in("etc/c")))
	must(t, os.Symlink("mine", s.in("etc/c")))
	s.record()
	s.update("2")
	s.run(nil)
	s.want("with both", tree{
		"etc/": "", "etc/a": "mine", "etc/b": "mine", "etc/c": "-> mine",
		"etc/a.ovl-new": "a 2 mode=0640 x=y", "etc/b.ovl-new": "b 2", "etc/c.ovl-new": "-> c2",
		"usr/": "", "usr/lib/": "",
	})
	if got := s.state().Pending; len(got) != 3 {
		t.Errorf("pending: %q", got)
	}
	return s
}

func TestResolve(t *testing.T) {
	s := conflicts(t)
	must(t, s.resolve("etc/a", true))
	must(t, s.resolve("etc/b.ovl-new", false))
	s.want("two resolved", tree{
		"etc/": "", "etc/a": "a 2 mode=0640 x=y", "etc/b": "mine", "etc/c": "-> mine", "etc/c.ovl-new": "-> c2",
		"usr/": "", "usr/lib/": "",
	})
	if got := s.state().Pending; len(got) != 1 || string(got[0]) != "etc/c" {
		t.Errorf("pending: %q", got)
	}
	var not *NotPendingError
	if err := s.resolve("etc/a", false); !errors.As(err, &not) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("resolved twice: %v", err)
	}
}

// The version beside is replaced when the next image has another one, and the
// one before is in the backup; what is the same is left alone.
func TestConflictAgain(t *testing.T) {
	s := conflicts(t)
	s.image("3", tree{"etc/a": "a 3", "etc/b": "b 2", "etc/c": "-> mine"})
	s.update("3")
	before, err := os.Stat(s.in("etc/b.ovl-new"))
	must(t, err)
	report := s.run(nil)
	s.want("on the third image", tree{
		"etc/": "", "etc/a": "mine", "etc/b": "mine", "etc/c": "-> mine",
		"etc/a.ovl-new": "a 3", "etc/b.ovl-new": "b 2",
		"usr/": "", "usr/lib/": "",
	})
	after, err := os.Stat(s.in("etc/b.ovl-new"))
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("what was the same was written anew")
	}
	backups, err := filepath.Glob(s.Upper + journal.Suffix + "/tx/" + report.Tx + "/backup/*")
	must(t, err)
	if len(backups) != 3 { // a.ovl-new, c, c.ovl-new
		t.Errorf("backups: %q", backups)
	}
}
