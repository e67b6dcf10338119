// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// The main job: every kind of deleted entry comes back as the image has it.
func TestDeletedEntriesComeBack(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("file", "dir/sub/f", "link -> file", "gone/x", "d/f")
		s.must(unix.Mkfifo(s.inLower("fifo"), 0o620))
		s.must(os.Chmod(s.inLower("file"), 0o640))
		all := []string{"file", "dir", "link", "fifo", "d/f"}
		// Making a device takes more than root of a user name space.
		if err := unix.Mknod(s.inLower("dev"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err == nil {
			all = append(all, "dev")
		}
		before := tree(t, s.Lower)
		s.mount()
		s.remove(all...)
		s.wantAbsent(all...) // negative dentries are cached now
		for _, rel := range all {
			s.wantWhiteout(rel, true)
			if st := s.state(rel); st.State != ioctl.StateWhiteout {
				t.Errorf("state of %s: %s, want whiteout", rel, st.State)
			}
		}

		results := s.restore(opts, all...)

		wantAll(t, results, StatusDone)
		for i, r := range results {
			if r.Path != s.merged(all[i]) || r.Action != ActRestore {
				t.Errorf("result %d: %+v", i, r)
			}
			if opts.Method == MethodRemount && r.Method != MethodRemount {
				t.Errorf("%s: method %s, want remount", r.Path, r.Method)
			}
		}
		wantTree(t, s.Merged, before)
		wantTree(t, s.Lower, before)
		for _, rel := range all {
			s.wantListed(rel, true)
			if st := s.state(rel); st.State != ioctl.StateNone {
				t.Errorf("state of %s afterwards: %s, want none", rel, st.State)
			}
		}
		wantNoTemporaryNames(t, s.Upper)
		// What came back is writable, and the lower stays as it is.
		s.write("file", "edited")
		s.wantContent("file", "edited")
		wantTree(t, s.Lower, before)
		// It is all there after the next mount, too.
		s.must(os.Remove(s.merged("file")))
		wantAll(t, s.restore(opts, "file"), StatusDone)
		s.Unmount(t)
		s.mount()
		wantTree(t, s.Merged, before)
	})
}

func wantNoTemporaryNames(t *testing.T, dir string) {
	t.Helper()
	for rel := range tree(t, dir) {
		if len(filepath.Base(rel)) > len(tempPrefix) && filepath.Base(rel)[:len(tempPrefix)] == tempPrefix {
			t.Errorf("a temporary name was left behind: %s", rel)
		}
	}
}

// A test run asks and changes nothing.
func TestDryRunChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("file", "dir/f", "shadow", "orphan", "visible")
		s.mount()
		s.remove("file", "dir", "orphan")
		s.write("shadow", "edited")
		s.write("own", "own")
		s.must(os.Remove(s.inLower("orphan")))
		before := tree(t, s.Upper)
		opts.DryRun, opts.Discard = true, true

		wantAll(t, s.restore(opts, "file", "dir", "shadow"), StatusPlanned)
		wantFailed(t, s.restore(opts, "orphan"), unix.ENODATA)
		wantFailed(t, s.restore(opts, "own"), unix.ENODATA)
		opts.Recursive = true
		wantAll(t, s.restore(opts, "."), StatusPlanned)

		wantTree(t, s.Upper, before)
		s.wantAbsent("file", "dir")
	})
}
