// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Undo brings everything back; undo of the undo drops it again, and so on.
func TestUndo(t *testing.T) {
	s := worked(t)
	before, seenBefore := picture(t, s.Upper), picture(t, s.Merged)
	id, err := drop(s.Merged)
	s.must(err)
	after, seenAfter := picture(t, s.Upper), picture(t, s.Merged)
	if diff := cmp.Diff(picture(t, s.Lower)["edited"], seenAfter["edited"]); diff != "" {
		t.Errorf("the image's file does not show:\n%s", diff)
	}
	for range 2 {
		for _, want := range []struct {
			what        string
			upper, seen map[string]string
		}{{"before", before, seenBefore}, {"after", after, seenAfter}} {
			s.must(undo(s.Merged, id))
			if diff := cmp.Diff(want.upper, picture(t, s.Upper)); diff != "" {
				t.Errorf("the upper is not as %s:\n%s", want.what, diff)
			}
			if diff := cmp.Diff(want.seen, picture(t, s.Merged)); diff != "" {
				t.Errorf("the merged view is not as %s:\n%s", want.what, diff)
			}
			s.must(withSite(s.Merged, func(store *Store, _ *overlay.Site) error {
				infos, err := store.Transactions()
				if infos[0].Undoes != id || infos[0].State != StateDone || infos[1].State != StateUndone || infos[0].Entries == 0 {
					t.Errorf("%+v\n%+v", infos[0], infos[1])
				}
				id = infos[0].ID
				return err
			}))
		}
	}
}

// Some paths can be undone, and the rest later.
func TestUndoSomePaths(t *testing.T) {
	s := worked(t)
	before := picture(t, s.Upper)
	id, err := drop(s.Merged)
	s.must(err)
	s.must(undo(s.Merged, id, "tree", "deleted"))
	got := picture(t, s.Upper)
	for _, rel := range []string{"tree/a/b/c", "deleted"} {
		if got[rel] != before[rel] {
			t.Errorf("%s: %s", rel, got[rel])
		}
	}
	if got["edited"] != "" {
		t.Errorf("not asked for: %s", got["edited"])
	}
	if err := undo(s.Merged, id, "tree"); !errors.Is(err, ErrNotIn) {
		t.Errorf("a second time: %v", err)
	}
	s.must(undo(s.Merged, id))
	if diff := cmp.Diff(before, picture(t, s.Upper)); diff != "" {
		t.Error(diff)
	}
	if err := undo(s.Merged, id); err != nil {
		t.Errorf("with nothing left: %v", err)
	}
}

// A path that somebody changed since stays as it is, and the others come back.
func TestUndoRefusesWhatChanged(t *testing.T) {
	s := worked(t)
	before := picture(t, s.Upper)
	id, err := drop(s.Merged)
	s.must(err)
	s.write(s.merged("edited"), "user, once more")
	s.write(s.merged("deleted"), "user, once more")
	s.must(os.Remove(s.merged("mode")))
	var failed []string
	s.must(withSite(s.Merged, func(store *Store, site *overlay.Site) error {
		done, err := store.Undo(context.Background(), site, id, UndoOptions{})
		for _, r := range done.Results {
			if r.Err == nil {
				continue
			}
			var changed *ChangedError
			if !errors.As(r.Err, &changed) || !errors.Is(r.Err, unix.ESTALE) || r.Status != overlay.StatusFailed {
				t.Errorf("%s: %+v", r.Path, r)
			}
			failed = append(failed, r.Path)
		}
		return err
	}))
	if diff := cmp.Diff(map[string]bool{"edited": true, "deleted": true, "mode": true}, set(failed)); diff != "" {
		t.Errorf("failed:\n%s", diff)
	}
	got := picture(t, s.Upper)
	for _, rel := range []string{"edited", "deleted"} {
		if data, err := os.ReadFile(s.merged(rel)); err != nil || string(data) != "user, once more" {
			t.Errorf("%s: %q, %v", rel, data, err)
		}
	}
	for _, rel := range []string{"sub/new\n", "again", "again/own", "tree/a/b/c"} {
		if got[rel] != before[rel] {
			t.Errorf("%s: %s", rel, got[rel])
		}
	}
	if missing := lost(t, s); len(missing) > 0 {
		t.Errorf("lost: %q", missing)
	}
	// Without the change it goes.
	s.must(os.Remove(s.inUpper("edited")))
	s.must(undo(s.Merged, id, "edited"))
	if got := picture(t, s.Upper); got["edited"] != before["edited"] {
		t.Errorf("edited: %s", got["edited"])
	}
}

func set(of []string) map[string]bool {
	all := map[string]bool{}
	for _, s := range of {
		all[s] = true
	}
	return all
}

// A dry run says the same as the undo would, and does nothing.
func TestUndoDryRun(t *testing.T) {
	s := worked(t)
	id, err := drop(s.Merged)
	s.must(err)
	s.write(s.merged("edited"), "user, once more")
	all := picture(t, s.storePath())
	run := func(dry bool) (said []string) {
		s.must(withSite(s.Merged, func(store *Store, site *overlay.Site) error {
			done, err := store.Undo(context.Background(), site, id, UndoOptions{DryRun: dry})
			for _, r := range done.Results {
				if want := (map[bool]overlay.Status{true: overlay.StatusPlanned, false: overlay.StatusDone}[dry]); r.Err == nil && r.Status != want {
					t.Errorf("%+v", r)
				}
				said = append(said, r.Path+" "+string(r.Action)+" "+map[bool]string{true: "failed"}[r.Err != nil])
			}
			return err
		}))
		return said
	}
	planned := run(true)
	if diff := cmp.Diff(all, picture(t, s.storePath())); diff != "" {
		t.Errorf("it changed:\n%s", diff)
	}
	if diff := cmp.Diff(planned, run(false)); diff != "" || len(planned) < 6 {
		t.Errorf("%q\n%s", planned, diff)
	}
}

// What was created goes away again, unless it was changed; attributes come back.
func TestUndoCreatedAndAttributes(t *testing.T) {
	s := worked(t)
	s.must(os.MkdirAll(s.merged("dir"), 0o750))
	before := picture(t, s.Upper)
	make2 := func(change bool) (id string) {
		s.must(withSite(s.Merged, func(store *Store, site *overlay.Site) error {
			tx, err := store.Begin(Intent{Kind: KindReconcile, From: "1", To: "2"})
			s.must(err, tx.Created("edited.ovl-new"), tx.Created("sub/made"), tx.Created("never-made"))
			s.write(s.merged("edited.ovl-new"), "image's")
			s.write(s.merged("sub/made/x"), "image's")
			upper, err := site.OpenDir(".")
			s.must(err)
			defer func() { _ = upper.Close() }()
			s.must(tx.Attributes(int(upper.Fd()), "dir", "dir"))
			s.must(os.Chmod(s.merged("dir"), 0o755), unix.Setxattr(s.merged("dir"), "user.test", []byte("x"), 0))
			id = tx.ID
			return tx.Done()
		}))
		if change {
			s.write(s.merged("edited.ovl-new"), "user's")
			s.write(s.merged("sub/made/y"), "user's")
			s.must(os.Chmod(s.merged("dir"), 0o711))
		}
		return id
	}
	s.must(undo(s.Merged, make2(false)))
	if diff := cmp.Diff(before, picture(t, s.Upper)); diff != "" {
		t.Error(diff)
	}
	id := make2(true)
	changed := picture(t, s.Upper)
	err := undo(s.Merged, id)
	for _, name := range []string{"edited.ovl-new", "sub/made", "dir"} {
		if !errors.As(err, new(*ChangedError)) || !containsQuoted(err, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(changed, picture(t, s.Upper)); diff != "" {
		t.Errorf("it changed:\n%s", diff)
	}
}

// A directory that is in the image only, by now, is made in the upper again for what
// is put back into it. One that the user deleted is not.
func TestUndoMakesDirectory(t *testing.T) {
	s := newStage(t)
	for _, rel := range []string{"a/b/edited", "a/b/deleted", "gone/edited"} {
		s.write(filepath.Join(s.Lower, rel), "image")
	}
	s.must(os.Chmod(filepath.Join(s.Lower, "a/b"), 0o710))
	s.Mount(t)
	s.write(s.merged("a/b/edited"), "user")
	s.write(s.merged("gone/edited"), "user")
	s.must(os.Remove(s.merged("a/b/deleted")))
	seen := picture(t, s.Merged)
	id, err := drop(s.Merged)
	s.must(err)
	s.Unmount(t)
	s.must(os.RemoveAll(s.inUpper("a")), os.RemoveAll(s.inUpper("gone")))
	s.Mount(t)
	s.must(os.RemoveAll(s.merged("gone")))

	var planned []Result
	s.must(withSite(s.Merged, func(store *Store, site *overlay.Site) error {
		done, err := store.Undo(t.Context(), site, id, UndoOptions{DryRun: true})
		planned = done.Results
		return err
	}))
	if _, err := os.Lstat(s.inUpper("a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dry run: %v", err)
	}
	var done []Result
	s.must(withSite(s.Merged, func(store *Store, site *overlay.Site) error {
		u, err := store.Undo(t.Context(), site, id, UndoOptions{})
		done = u.Results
		return err
	}))
	for i, r := range done {
		if changed := errors.As(r.Err, new(*ChangedError)); changed != (r.Path == "gone/edited") || !changed && r.Err != nil {
			t.Errorf("%s: %v", r.Path, r.Err)
		}
		if i >= len(planned) || planned[i].Path != r.Path || planned[i].Action != r.Action {
			t.Errorf("planned %+v, done %+v", planned, r)
		}
	}
	delete(seen, "gone")
	delete(seen, "gone/edited")
	if diff := cmp.Diff(seen, picture(t, s.Merged)); diff != "" || len(done) != 3 {
		t.Errorf("%d results:\n%s", len(done), diff)
	}
}
