// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// MNT may be any path of the mount, a bind of it, or a bind of a directory in it.
func TestFindByAnyPath(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/e/f", "d/e/g", "link -> d/e", "d/shadow")
		s.mount()
		s.write("d/shadow", "edited")
		bind, sub := t.TempDir(), t.TempDir()
		namespace.Mount(t, s.Merged, bind, "", unix.MS_BIND, "")
		namespace.Mount(t, s.merged("d"), sub, "", unix.MS_BIND, "")
		for mnt, f := range map[string]string{
			s.Merged:             s.merged("d/e/f"),
			s.Merged + "/":       s.merged("d/e/f"),
			s.merged("d/e"):      s.merged("d/e/f"),
			s.merged("d/shadow"): s.merged("d/e/f"),
			s.merged("d/.."):     s.merged("d/../d/e/f"),
			s.merged("link"):     s.merged("link/f"),
			bind:                 join(bind, "d/e/f"),
			join(bind, "d"):      s.merged("d/e/f"), // another mount of the same overlay
			sub:                  join(sub, "e/f"),
			join(sub, "e"):       s.merged("d/e/f"),
		} {
			s.remove("d/e/f")
			o, err := Open(mnt, Options{})
			s.must(err)
			wantAll(t, o.Restore(t.Context(), []string{f}, opts), StatusDone)
			s.must(o.Close())
			s.wantLower("d/e/f")
		}
		// Through the bind of a directory, all below it and nothing else.
		s.remove("d/e/f", "d/e/g")
		o := openOverlay(t, sub, Options{})
		opts.Recursive, opts.Discard, opts.Keeper = true, true, s.keep().open
		wantAll(t, o.Restore(t.Context(), []string{sub}, opts), StatusDone)
		s.wantLower("d/e/f", "d/e/g", "d/shadow")
	})
}

func TestFindNoOverlay(t *testing.T) {
	s := newStage(t)
	s.mount()
	var not *NotOverlayError
	_, err := Find(s.Lower)
	if !errors.As(err, &not) || !errors.Is(err, unix.EOPNOTSUPP) || not.Path != s.Lower {
		t.Fatalf("%v, want a NotOverlayError", err)
	}
	isOurs := func(m Mount) bool { return m.Point == s.Merged }
	if !slices.ContainsFunc(not.Overlays, isOurs) {
		t.Errorf("the error lists %+v, and not %s", not.Overlays, s.Merged)
	}
	if _, err := Find(join(s.Merged, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that does not exist: %v", err)
	}
	mounts, err := Mounts()
	if err != nil || !slices.ContainsFunc(mounts, isOurs) {
		t.Errorf("Mounts: %v, %v", mounts, err)
	}
}

// One overlay's merged directory is another's lower; and several overlays share
// one device. Each is found by its own paths, and only it is changed.
func TestNestedAndNeighbouringOverlays(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("outer/f", "outer/g", "f")
		s.mount()
		s.remove("outer/f", "f")
		inner := newStageIn(t, namespace.Disk(t))
		inner.userxattr = s.userxattr
		inner.Merged = s.merged("outer") // mounted in the other one
		s.must(os.WriteFile(inner.inLower("f"), []byte("lower:f"), 0o644))
		inner.mount()
		inner.remove("f")
		neighbour := newStageIn(t, t.TempDir())
		if err := unix.Setxattr(neighbour.Upper, neighbour.xattr("test"), nil, 0); err == nil {
			neighbour.fillLower("f")
			neighbour.mount()
			neighbour.remove("f")
			neighbour.wantWhiteout("f", true)
		}

		wantFailed(t, s.restore(opts, "outer/f"), unix.EXDEV)
		wantAll(t, inner.restore(opts, "f"), StatusDone)
		inner.wantContent("f", "lower:f")
		s.wantWhiteout("outer/f", true)
		wantAll(t, s.restore(opts, "f"), StatusDone)
		s.wantLower("f")
	})
}

// An overlay over a directory of another one: its lower is merged itself.
func TestOverlayOverAnOverlaysDirectory(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/f", "d/sub/g")
		s.mount()
		s.write("d/own", "own")
		over := newStageIn(t, namespace.Disk(t))
		over.userxattr = s.userxattr
		over.Lower = s.merged("d")
		over.mount()
		over.remove("f", "sub", "own")

		wantAll(t, over.restore(opts, "f", "sub", "own"), StatusDone)

		over.wantContent("f", "lower:d/f")
		over.wantContent("sub/g", "lower:d/sub/g")
		over.wantContent("own", "own")
	})
}

// Something else is mounted over the whole overlay: its paths lead there.
func TestCoveredMountPoint(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/f")
		s.mount()
		s.remove("d/f")
		t.Chdir(s.merged("d"))
		before := tree(t, s.Upper)
		namespace.Mount(t, "tmpfs", s.Merged, "tmpfs", 0, "")

		var not *NotOverlayError
		if _, err := Find(s.Merged); !errors.As(err, &not) {
			t.Errorf("the covered mount point: %v, want a NotOverlayError", err)
		}
		// A process inside still has a path that leads there.
		o, err := Open(".", Options{})
		if err != nil {
			return
		}
		defer func() { s.must(o.Close()) }()
		wantAll(t, o.Restore(t.Context(), []string{"/proc/self/cwd/f"}, opts), StatusFailed)
		wantTree(t, s.Upper, before)
	})
}

// The tool never writes through what it must not: a read-only overlay, a
// read-only bind of a writable one, an overlay without an upper.
func TestReadOnly(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f", "shadow")
		s.mount()
		s.remove("f")
		s.write("shadow", "edited")
		before := tree(t, s.Upper)
		bind := t.TempDir()
		namespace.Mount(t, s.Merged, bind, "", unix.MS_BIND, "")
		s.must(unix.Mount("", bind, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		opts.Discard, opts.Keeper = true, s.keep().open

		o := openOverlay(t, bind, Options{})
		for _, rel := range []string{"f", "shadow"} {
			wantFailed(t, o.Restore(t.Context(), []string{join(bind, rel)}, opts), unix.EROFS)
		}
		// Opened by the writable mount, and named through the other one.
		wantFailed(t, s.open().Restore(t.Context(), []string{join(bind, "f")}, opts), unix.EROFS)
		wantTree(t, s.Upper, before)

		s.must(unix.Mount("", s.Merged, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		wantFailed(t, s.restore(opts, "f"), unix.EROFS)
		wantTree(t, s.Upper, before)
	})
}

func TestNoUpper(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f", "g")
		s.must(unix.Mknod(s.inUpper("f"), unix.S_IFCHR, 0))
		s.mount("lowerdir="+s.Upper+":"+s.Lower, "upperdir=")
		s.wantAbsent("f")
		wantFailed(t, s.restore(opts, "f"), unix.EROFS)
		opts.Recursive = true
		wantFailed(t, s.restore(opts, ""), unix.EROFS)
	})
}

// Mount flags and options are the same before and after the flush, in both ways
// to flush, and the flush is seen.
func TestFlushChangesNoOption(t *testing.T) {
	for name, flush := range map[string]func(*Overlay) error{
		"reconfigure": func(o *Overlay) error { return reconfigure(o.fd()) },
		"remount":     (*Overlay).remount,
	} {
		t.Run(name, func(t *testing.T) {
			for _, flags := range []uintptr{
				0, unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, unix.MS_NOATIME, unix.MS_NODIRATIME | unix.MS_RELATIME,
				unix.MS_STRICTATIME, unix.MS_NOSYMFOLLOW, unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC,
			} {
				s := newStage(t)
				s.fillLower("f")
				s.mount()
				s.must(unix.Mount("", s.Merged, "", unix.MS_BIND|unix.MS_REMOUNT|flags&^(unix.MS_SYNCHRONOUS|unix.MS_DIRSYNC), ""))
				s.remove("f")
				s.wantAbsent("f")
				s.must(os.Remove(s.inUpper("f")))
				before := lineOf(t, s.Merged)
				s.must(flush(s.open()))
				if after := lineOf(t, s.Merged); after != before {
					t.Errorf("flags %#x: the mount was %q, is %q", flags, before, after)
				}
				s.wantLower("f")
			}
		})
	}
}

func lineOf(t *testing.T, point string) string {
	t.Helper()
	table, err := readMountTable()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range table {
		if info.Mountpoint == point {
			return info.Options + " " + info.VFSOptions + " " + info.Source
		}
	}
	t.Fatalf("no mount at %s", point)
	return ""
}
