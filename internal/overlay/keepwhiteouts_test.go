// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// With KeepWhiteouts the keeper hears of each whiteout while it is still there,
// and one that it cannot note stays.
func TestKeepWhiteouts(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f", "dir/g", "stays")
		s.mount()
		s.remove("f", "dir", "stays")
		k := s.keep()
		full := errors.New("no room")
		k.before = func(_, rel string) error {
			var st unix.Stat_t
			s.must(unix.Lstat(s.inUpper(rel), &st))
			if rel == "stays" {
				return full
			}
			return nil
		}
		opts.KeepWhiteouts, opts.Keeper = true, k.open
		results := s.open().Restore(context.Background(), []string{s.merged("f"), s.merged("dir"), s.merged("stays")}, opts)
		for _, r := range results {
			rel, err := filepath.Rel(s.Merged, r.Path)
			s.must(err)
			_, shown := os.Lstat(r.Path)
			if rel == "stays" {
				if !errors.Is(r.Err, full) || shown == nil {
					t.Errorf("%s: %+v, shows: %v", rel, r, shown)
				}
				continue
			}
			if r.Status != StatusDone || shown != nil {
				t.Errorf("%s: %+v, shows: %v", rel, r, shown)
			}
		}
		if want := []string{"whiteout f", "whiteout dir", "whiteout stays"}; !slices.Equal(k.notes, want) {
			t.Errorf("noted %q, want %q", k.notes, want)
		}
	})
}
