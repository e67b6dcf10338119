// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// Somebody holds the directory open, has read part of it, and reads on.
func TestDirectoryHeldOpen(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		var files []string
		for i := range 200 {
			files = append(files, fmt.Sprintf("d/f%03d", i))
		}
		s.fillLower(files...)
		s.mount()
		s.write("d/own", "x") // merged, so that the kernel caches its listing
		s.remove("d/f000", "d/f199")
		held, err := os.Open(s.merged("d"))
		s.must(err)
		defer held.Close()
		if _, err := held.Readdirnames(10); err != nil {
			t.Fatal(err)
		}
		startActor(t, "open", s.merged("d"))
		s.wantAbsent("d/f000", "d/f199")

		wantAll(t, s.restore(opts, "d/f000", "d/f199"), StatusDone)

		s.wantLower("d/f000", "d/f199")
		// The old stream ends without an error; a rewound one is whole.
		if _, err := held.Readdirnames(-1); err != nil {
			t.Errorf("the stream that was open: %v", err)
		}
		if _, err := held.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		names, err := held.Readdirnames(-1)
		if err != nil || len(names) != 201 {
			t.Errorf("after rewinding: %d names, %v; want 201", len(names), err)
		}
	})
}

// The old copy goes on being served to who asks by name, as long as somebody
// holds it open. That must never be called done.
func TestHeldFileIsNeverDone(t *testing.T) {
	for _, role := range []string{"open", "map"} {
		t.Run(role, func(t *testing.T) {
			onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
				s.fillLower("f", "free")
				s.mount()
				s.write("f", "edited")
				s.write("free", "edited")
				holder := startActor(t, role, s.merged("f"))
				opts.Discard = true

				results := s.restore(opts, "f", "free")

				if len(results) != 2 {
					t.Fatalf("results: %+v", results)
				}
				wantAll(t, results[1:], StatusDone)
				s.wantLower("free")
				data, err := os.ReadFile(s.merged("f"))
				s.must(err)
				switch {
				case string(data) == contentIn(s.Lower, "f"): // a kernel that does it properly
					wantAll(t, results[:1], StatusDone)
				case role == "map" && !namespace.Privileged():
					// /proc/PID/map_files is for the initial name space's root.
					wantBusy(t, results[0], 0)
				default:
					wantBusy(t, results[0], holder.pid())
				}
				if backup, err := os.ReadFile(results[0].Backup); err != nil || string(backup) != "edited" {
					t.Errorf("backup %q: %q, %v", results[0].Backup, backup, err)
				}
				holder.stop()
				if results[0].Status == StatusBusy {
					// As it is said: close it, and run it again.
					wantAll(t, s.restore(opts, "f"), StatusDone)
				}
				s.wantLower("f")
			})
		})
	}
}

// wantBusy checks that the result names the process; 0 for none.
func wantBusy(t *testing.T, r Result, pid int) {
	t.Helper()
	var busy *BusyError
	if r.Status != StatusBusy || !errors.As(r.Err, &busy) || !errors.Is(r.Err, unix.EBUSY) {
		t.Errorf("%s: %s, %v; want busy", r.Path, r.Status, r.Err)
	}
	if pid == 0 {
		return
	}
	isHolder := func(h Holder) bool { return h.PID == pid && h.Comm != "" }
	if !slices.ContainsFunc(r.Holders, isHolder) {
		t.Errorf("%s: holders %+v, want process %d", r.Path, r.Holders, pid)
	}
}

// The holder of a deleted file keeps it, and everybody else gets the lower's.
func TestDeletedFileHeldOpen(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f")
		s.mount()
		s.write("f", "edited")
		held, err := os.Open(s.merged("f"))
		s.must(err)
		defer held.Close()
		holder := startActor(t, "open", s.merged("f"))
		s.remove("f")

		results := s.restore(opts, "f")

		buf := make([]byte, 20)
		if n, err := held.Read(buf); err != nil || string(buf[:n]) != "edited" {
			t.Errorf("the file held open: %q, %v", buf[:n], err)
		}
		if results[0].Status == StatusDone {
			s.wantLower("f")
			return
		}
		// Without the ioctl, the kernel finds the inode by its lower origin, and
		// gives everybody the deleted file.
		wantBusy(t, results[0], holder.pid())
		wantBusy(t, s.restore(opts, "f")[0], holder.pid()) // and not: nothing to restore
		held.Close()
		holder.stop()
		wantAll(t, s.restore(opts, "f"), StatusDone)
		s.wantLower("f")
	})
}

// A removed directory that is somebody's working directory: what comes back can
// be listed, or it is not done.
func TestRemovedWorkingDirectory(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/f", "e/f")
		s.mount()
		holder := startActor(t, "chdir", s.merged("d"))
		s.remove("d", "e")

		results := s.restore(opts, "d", "e")

		wantAll(t, results[1:], StatusDone)
		s.wantLower("e/f")
		if results[0].Status == StatusDone {
			s.wantLower("d/f")
			s.wantNames("d", "f")
			return
		}
		wantBusy(t, results[0], holder.pid())
		holder.stop()
		s.wantWhiteout("d", false)
		// A lookup finds it from now on, by itself.
		s.wantLower("d/f")
		s.wantNames("d", "f")
	})
}

// An opaque directory that somebody holds open, its list half read, becomes
// merged for all to see.
func TestOpaqueDirectoryHeldOpen(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/a", "d/b", "d/sub/c")
		s.mount()
		s.remove("d")
		s.must(os.Mkdir(s.merged("d"), 0o755))
		s.write("d/own", "own")
		s.wantNames("d", "own")
		held, err := os.Open(s.merged("d"))
		s.must(err)
		defer held.Close()
		if _, err := held.Readdirnames(1); err != nil {
			t.Fatal(err)
		}
		holder := startActor(t, "open", s.merged("d"))
		opts.Recursive, opts.Discard = true, false
		opts.Keeper = s.keep().open

		results := s.restore(opts, "d")

		if results[0].Action != ActMerge {
			t.Fatalf("results: %+v", results)
		}
		if results[0].Status == StatusBusy {
			wantBusy(t, results[0], holder.pid())
			held.Close()
			holder.stop()
			results = s.restore(opts, "d/a", "d/b", "d/sub")
		}
		for _, r := range results {
			if r.Status != StatusDone && r.Status != StatusKept {
				t.Errorf("%+v", r)
			}
		}
		s.wantLower("d/a", "d/b", "d/sub/c")
		s.wantNames("d", "a", "b", "own", "sub")
		s.wantContent("d/own", "own")
	})
}
