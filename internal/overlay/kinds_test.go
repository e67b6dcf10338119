// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The middle layers have whiteouts and opaque directories of their own: what
// comes back is what the lowers show together.
func TestSeveralLowers(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		middle := join(s.Work, "../middle")
		s.must(os.Mkdir(middle, 0o755))
		s.fillLower("d/low", "d/hidden", "opaque/low", "both/low", "gone")
		fill(t, middle, "d/mid", "opaque/mid", "both/mid")
		s.must(unix.Mknod(middle+"/d/hidden", unix.S_IFCHR, 0))
		s.must(unix.Setxattr(middle+"/opaque", s.xattr("opaque"), []byte("y"), 0))
		s.must(unix.Mknod(middle+"/gone", unix.S_IFCHR, 0))
		s.mount("lowerdir=" + middle + ":" + s.Lower)
		before := tree(t, s.Merged)
		s.remove("d", "opaque", "both/mid", "both/low")
		wantAll(t, s.restore(opts, "d", "opaque", "both/mid", "both/low"), StatusDone)
		wantTree(t, s.Merged, before)
		s.wantAbsent("d/hidden", "gone", "opaque/low")
		// A whiteout of the upper over one of the middle is an orphan.
		s.must(os.WriteFile(s.merged("gone"), nil, 0o644))
		s.Unmount(t)
		s.must(os.Remove(s.inUpper("gone")))
		s.must(unix.Mknod(s.inUpper("gone"), unix.S_IFCHR, 0))
		s.mount("lowerdir=" + middle + ":" + s.Lower)
		wantFailed(t, s.restore(opts, "gone"), unix.ENODATA)
	})
}

// A lower's xattr whiteouts, which Linux knows since 6.7: they hide there, and
// are ordinary empty files before. What restoring brings back is what the kernel
// shows of the lowers.
func TestXattrWhiteoutInALower(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		middle := join(s.Work, "../middle")
		s.must(os.Mkdir(middle, 0o755))
		s.fillLower("d/hidden", "d/low")
		fill(t, middle, "d/mid")
		s.must(os.WriteFile(middle+"/d/hidden", nil, 0o644))
		s.must(unix.Setxattr(middle+"/d/hidden", s.xattr("whiteout"), []byte("y"), 0))
		for _, dir := range []string{middle, middle + "/d"} {
			s.must(unix.Setxattr(dir, s.xattr("opaque"), []byte("x"), 0))
		}
		s.mount("lowerdir=" + middle + ":" + s.Lower)
		_, err := os.Lstat(s.merged("d/hidden"))
		if hides := errors.Is(err, os.ErrNotExist); hides != kernelHasXattrWhiteouts() {
			t.Errorf("this kernel hides by xattr: %t, believed: %t", hides, kernelHasXattrWhiteouts())
		}
		before := tree(t, s.Merged)
		// (Not the directory: the kernel counts these whiteouts as entries of it.)
		s.remove("d/low", "d/mid")
		wantAll(t, s.restore(opts, "d/low", "d/mid"), StatusDone)
		wantTree(t, s.Merged, before)
	})
}

// Data-only lowers take no part in directories. A kernel before 6.5 has none.
func TestDataOnlyLower(t *testing.T) {
	needTrusted(t)
	s := newStage(t)
	data := join(s.Work, "../data")
	s.must(os.Mkdir(data, 0o755))
	fill(t, data, "blob")
	s.fillLower("f", "plain")
	s.must(os.Truncate(s.inLower("f"), int64(len("data:blob"))))
	s.must(unix.Setxattr(s.inLower("f"), "trusted.overlay.metacopy", nil, 0))
	s.must(unix.Setxattr(s.inLower("f"), "trusted.overlay.redirect", []byte("/blob"), 0))
	options := fmt.Sprintf("lowerdir=%s::%s,upperdir=%s,workdir=%s,metacopy=on,redirect_dir=on", s.Lower, data, s.Upper, s.Work)
	if err := unix.Mount("overlay", s.Merged, "overlay", 0, options); err != nil {
		t.Logf("no data-only lowers here (%v): as an ordinary one it is a lower", err)
		s.mount("lowerdir=" + s.Lower + ":" + data)
		s.remove("blob")
		wantAll(t, s.restore(RestoreOptions{}, "blob"), StatusDone)
		return
	}
	t.Cleanup(func() { _ = unix.Unmount(s.Merged, unix.MNT_DETACH) })
	s.remove("f", "plain")
	o := s.open()
	wantAll(t, s.restoreWith(o, RestoreOptions{}, "f", "plain"), StatusDone)
	s.wantContent("f", "data:blob")
	s.wantContent("plain", "lower:plain")
	// Read in the lower it would be a hole, not its content.
	if got, err := o.ReadLower(s.merged("f")); err == nil {
		t.Errorf("a file whose data is elsewhere was read as %q", got)
	}
	wantFailed(t, s.restoreWith(o, RestoreOptions{}, "blob"), unix.EEXIST)
}

// A batch is flushed once and lists each directory a few times, however many
// names it has.
func TestLargeBatchIsFlushedOnce(t *testing.T) {
	for _, dirs := range []int{1, 1000} {
		t.Run(strconv.Itoa(dirs), func(t *testing.T) {
			s := newStage(t)
			rels := manyNames(scaled(10_000), dirs)
			s.fillLower(rels...)
			s.mount()
			s.whiteOut(rels...)
			o := s.open()
			flushes := 0
			o.opts.Trace = func(e Event) {
				if strings.HasPrefix(e.Op, "flush") {
					flushes++
				}
			}
			wantAll(t, s.restoreWith(o, RestoreOptions{Method: MethodRemount}, rels...), StatusDone)
			if flushes != 1 {
				t.Errorf("%d flushes, want 1", flushes)
			}
		})
	}
}

// A disk without room: a whiteout is restored, or nothing has changed.
func TestRestoreOnAFullDisk(t *testing.T) {
	for _, method := range []Method{MethodRemount, MethodAuto} {
		for what, limit := range map[string]string{"inodes": "nr_inodes=60", "blocks": "size=256k"} {
			t.Run(string(method)+" "+what, func(t *testing.T) {
				s := newStage(t)
				if s.userxattr && unix.Setxattr(t.TempDir(), "user.test", nil, 0) != nil {
					t.Skip("the tmpfs that this fills has no user.* xattrs before Linux 6.6")
				}
				s.fillLower("f", "d/f", "shadow")
				disk := t.TempDir()
				s.must(unix.Mount("tmpfs", disk, "tmpfs", 0, limit))
				t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
				s.Upper, s.Work = disk+"/upper", disk+"/work"
				s.must(errors.Join(os.Mkdir(s.Upper, 0o755), os.Mkdir(s.Work, 0o755)))
				s.mount()
				s.remove("f", "d/f")
				s.write("shadow", "edited")
				var err error
				for i := 0; err == nil; i++ {
					err = os.WriteFile(fmt.Sprintf("%s/fill%d", disk, i), make([]byte, 4096), 0o600)
				}
				before := tree(t, s.Upper)

				results := s.restore(RestoreOptions{Method: method}, "f", "d/f")

				for i, rel := range []string{"f", "d/f"} {
					switch r := results[i]; {
					case r.Status == StatusDone:
						s.wantLower(rel)
					case !errors.Is(r.Err, unix.ENOSPC):
						t.Errorf("%+v", r)
					case tree(t, s.Upper)[rel] != before[rel]:
						t.Errorf("%s failed, and the upper has changed", rel)
					}
				}
				s.wantContent("shadow", "edited")
			})
		}
	}
}
