// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Symbolic links that were put where directories of the upper were lead nowhere:
// an undo writes to no other place, and keeps what it could not bring back.
func TestUndoThroughSymlinks(t *testing.T) {
	s := worked(t)
	id, err := drop(s.Merged)
	s.must(err)
	outside := t.TempDir()
	// The directory of "sub/new\n", in the upper and behind the kernel's back.
	s.must(os.RemoveAll(s.inUpper("sub")), os.Symlink(outside, s.inUpper("sub")))
	// And what a directory was put back as is a link by the time its mark is.
	s.must(os.Rename(s.inUpper("again"), s.inUpper("elsewhere")), os.Symlink(outside, s.inUpper("again")))
	err = undo(s.Merged, id)
	for _, name := range []string{"sub/new\n", "again", "again/own"} {
		if !errors.As(err, new(*ChangedError)) || !containsQuoted(err, name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("written outside: %v, %v", left, err)
	}
	if missing := lost(t, s); len(missing) > 0 {
		t.Errorf("lost: %q", missing)
	}
}

// A backup that somebody replaced by a link is put back as that link, and nothing
// of what it leads to is read or changed.
func TestUndoOfASymlink(t *testing.T) {
	s := worked(t)
	secret := filepath.Join(t.TempDir(), "secret")
	s.must(os.WriteFile(secret, []byte("secret"), 0o600))
	s.must(os.Remove(s.merged("edited")), os.Symlink(secret, s.merged("edited")))
	before := picture(t, s.Upper)
	id, err := drop(s.Merged)
	s.must(err, undo(s.Merged, id))
	if diff := cmp.Diff(before, picture(t, s.Upper)); diff != "" {
		t.Error(diff)
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "secret" {
		t.Errorf("%q, %v", data, err)
	}
}

// 4,000 levels deep, an entry is dropped, and comes back.
func TestUndoDeep(t *testing.T) {
	s := worked(t)
	s.must(os.Mkdir(s.merged("deep"), 0o755))
	deepTree(t, s.merged("deep"), levels())
	top, err := os.Open(s.Upper)
	s.must(err)
	defer func() { _ = top.Close() }()
	before, err := digestTree(top, "deep")
	s.must(err)
	id, err := drop(s.Merged)
	s.must(err)
	if _, err := os.Lstat(s.merged("deep")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("dropped: %v", err)
	}
	s.must(undo(s.Merged, id))
	after, err := digestTree(top, "deep")
	if err != nil || after != before {
		t.Errorf("it came back otherwise: %v", err)
	}
	s.must(withSite(s.Merged, func(store *Store, site *overlay.Site) error { // what cleans up would not come so deep
		infos, err := store.Transactions()
		s.must(err)
		_, err = store.Undo(context.Background(), site, infos[0].ID, UndoOptions{})
		s.must(err)
		_, err = store.Undo(context.Background(), site, id, UndoOptions{Paths: []string{"tree"}})
		if err == nil {
			tx, beginErr := store.Begin(Intent{Note: "the last"})
			s.must(beginErr, tx.Done())
			_, err = store.Prune(Limits{Count: 1}, nil)
		}
		return err
	}))
}
