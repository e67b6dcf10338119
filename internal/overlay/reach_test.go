// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// layers reaches both kinds, or fails the test.
func (s *stage) layers(o *Overlay) (upper *Layer, lowers []*Layer) {
	s.t.Helper()
	upper, err := o.ProvenUpper()
	s.must(err)
	lowers, err = o.Lowers()
	s.must(err)
	return upper, lowers
}

// isDir says whether a layer is that very directory.
func wantLayer(t *testing.T, l *Layer, dir string) {
	t.Helper()
	var got, want unix.Stat_t
	if err := errors.Join(unix.Fstat(l.fd(), &got), unix.Stat(dir, &want)); err != nil {
		t.Fatal(err)
	}
	if got.Dev != want.Dev || got.Ino != want.Ino {
		t.Errorf("the layer %s, reached by %s, is not %s", l.Path, l.How, dir)
	}
}

// lowerdir=/X mounted on /X, as Calculinux does with /etc: what lies at the
// lower's path is the overlay itself, where every edited file equals itself.
func TestLowerCoveredByItsOverlay(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("gone", "edited", "d/f", "d/edited")
		s.Merged = s.Lower
		s.mount()
		s.remove("gone", "d/f")
		s.write("edited", "by the user")
		s.write("d/edited", "by the user")
		o := s.open()

		upper, lowers := s.layers(o)

		wantLayer(t, upper, s.Upper)
		var st unix.Stat_t
		s.must(unix.Fstat(lowers[0].fd(), &st))
		if o.isOurs(st.Dev) {
			t.Fatal("the overlay itself was taken for its lower")
		}
		for rel, want := range map[string]string{"edited": "lower:edited", "d/edited": "lower:d/edited", "gone": "lower:gone"} {
			if got, err := o.ReadLower(s.merged(rel)); err != nil || string(got) != want {
				t.Errorf("%s in the lower: %q, %v; want %q", rel, got, err, want)
			}
		}
		wantAll(t, s.restoreWith(o, opts, "gone", "d/f"), StatusDone)
		s.wantContent("gone", "lower:gone")
		s.wantContent("d/f", "lower:d/f")
		s.wantContent("edited", "by the user")
		s.wantContent("d/edited", "by the user")
	})
}

// The same where nothing can be cloned: a lower that cannot be told from the
// overlay is not read at all.
func TestLowerIsNeverTheOverlay(t *testing.T) {
	s := newStage(t)
	s.fillLower("f")
	s.Merged = s.Lower
	s.mount()
	o := s.open()
	_, err := o.tryLower(o.Mount.Config.Lowers[0], candidate{how: "path", named: true, open: func() (int, error) {
		return openPath(unix.AT_FDCWD, s.Lower, unix.O_PATH|unix.O_DIRECTORY)
	}}, nil)
	if !errors.Is(err, errIsOverlay) {
		t.Errorf("the overlay's own directory as a lower: %v, want %v", err, errIsOverlay)
	}
	_, err = o.tryUpper(o.Mount.Config.Upper, candidate{how: "path", named: true, open: func() (int, error) {
		return openPath(unix.AT_FDCWD, s.Merged, unix.O_PATH|unix.O_DIRECTORY)
	}})
	if !errors.Is(err, errIsOverlay) {
		t.Errorf("the overlay's own directory as an upper: %v, want %v", err, errIsOverlay)
	}
}

// Something is mounted over the layers after the overlay was.
func TestHiddenLayers(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f", "shadow")
		s.mount()
		s.remove("f")
		s.write("shadow", "edited")
		namespace.Mount(t, "tmpfs", s.Upper, "tmpfs", 0, "")
		namespace.Mount(t, "tmpfs", s.Lower, "tmpfs", 0, "")
		// A decoy with the same names.
		fill(t, s.Upper, "shadow", "f")
		fill(t, s.Lower, "shadow", "f")
		upper, lower := tree(t, s.Upper), tree(t, s.Lower)
		opts.Discard = true

		wantAll(t, s.restore(opts, "f", "shadow"), StatusDone)

		s.wantContent("f", "lower:f")
		s.wantContent("shadow", "lower:shadow")
		wantTree(t, s.Upper, upper)
		wantTree(t, s.Lower, lower)
	})
}

// The file system of the layers was moved, as switch_root does, and a decoy lies
// where it was.
func TestMovedLayers(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		base := t.TempDir()
		disk := join(base, "disk")
		s.must(os.Mkdir(disk, 0o755))
		backing(t, s, disk)
		merged := s.Overlay.Merged
		s.Overlay = namespace.NewOverlayIn(t, disk)
		s.Merged = merged
		s.fillLower("f", "d/f", "shadow")
		s.mount()
		s.remove("f", "d")
		s.write("shadow", "edited")
		s.must(os.Mkdir(join(base, "moved"), 0o755))
		s.must(unix.Mount(disk, join(base, "moved"), "", unix.MS_MOVE, ""))
		t.Cleanup(func() { _ = unix.Unmount(join(base, "moved"), unix.MNT_DETACH) })
		nextTick() // else the decoy may have the very times of the real one
		fill(t, disk, "upper/f", "upper/d/f", "upper/shadow", "lower/f", "lower/d/f", "lower/shadow", "work/")
		before := tree(t, disk)
		o := s.open()

		wantAll(t, s.restoreWith(o, opts, "f", "d"), StatusDone)

		upper, lowers := s.layers(o)
		wantLayer(t, upper, join(base, "moved/upper"))
		wantLayer(t, lowers[0], join(base, "moved/lower"))
		s.wantContent("f", "lower:f")
		s.wantContent("d/f", "lower:d/f")
		wantTree(t, disk, before)
	})
}

// backing mounts at dir a file system that overlayfs takes for both of its
// layers: a tmpfs, where that has the attributes, else a bind of the disk.
func backing(t *testing.T, s *stage, dir string) {
	t.Helper()
	namespace.Mount(t, "tmpfs", dir, "tmpfs", 0, "")
	if s.userxattr && unix.Setxattr(dir, "user.overlay.test", []byte("y"), 0) != nil {
		s.must(unix.Unmount(dir, 0)) // tmpfs has user.* since Linux 6.6
		namespace.Mount(t, namespace.Disk(t), dir, "", unix.MS_BIND, "")
	}
}

// A directory at the configured path with the same names, owner and mode is not
// the upper. Nothing in it changes.
func TestDecoyUpper(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f", "d/f", "shadow")
		s.mount()
		s.remove("f", "d")
		s.write("shadow", "edited")
		moved := s.Upper + ".moved"
		s.must(os.Rename(s.Upper, moved))
		s.must(os.Mkdir(s.Upper, 0o755))
		fill(t, s.Upper, "shadow", "d/", "x")
		if err := unix.Mknod(s.inUpper("f"), unix.S_IFCHR, 0); err != nil {
			t.Fatal(err)
		}
		copyTimes(t, moved, s.Upper)
		before, hidden := tree(t, s.Upper), tree(t, moved)
		opts.Discard = true

		results := s.restore(opts, "f", "shadow")

		wantAll(t, results, StatusFailed)
		for _, r := range results {
			if !errors.Is(r.Err, unix.ENOLINK) && !errors.Is(r.Err, unix.EEXIST) {
				t.Errorf("%s: %v, want ENOLINK", r.Path, r.Err)
			}
		}
		wantTree(t, s.Upper, before)
		wantTree(t, moved, hidden)

		// --upper: wrong, and then right.
		for dir, want := range map[string]bool{s.Upper: false, s.Lower: false, s.Merged: false, s.Work: false, join(s.Upper, "none"): false, moved: true} {
			o := openOverlay(t, s.Merged, Options{Upper: dir})
			upper, err := o.ProvenUpper()
			switch {
			case want && err != nil:
				t.Errorf("--upper %s: %v", dir, err)
			case !want && !errors.Is(err, unix.ENOLINK):
				t.Errorf("--upper %s: %v, want ENOLINK", dir, err)
			case want:
				wantLayer(t, upper, moved)
				wantAll(t, s.restoreWith(o, opts, "f", "d"), StatusDone)
				s.wantContent("f", "lower:f")
			}
		}
		wantTree(t, s.Upper, before)
	})
}

func copyTimes(t *testing.T, from, to string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		t.Fatal(err)
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
		t.Fatal(err)
	}
}

// Layers may have any name, however it has to be written in the options, and
// however the kernel then shows it.
func TestOptionEscapes(t *testing.T) {
	for _, name := range []string{
		"plain", "com,ma", "co:lon", `back\slash`, "bl ank", "new\nline", "tab\t", "eq=ual", `x\054y`, "quo\"te", "p#und",
		`\`, `,:\`, "not\xffutf8", `a\:b`, `trail\`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.fillLower("f", "d/f")
			base := filepath.Dir(s.Lower)
			for _, dir := range []*string{&s.Lower, &s.Upper, &s.Work} {
				renamed := join(base, filepath.Base(*dir)+name)
				s.must(os.Rename(*dir, renamed))
				*dir = renamed
			}
			if !s.mountEscaped() {
				t.Logf("this kernel mounts no such layers, however written")
				return
			}
			s.remove("f", "d")
			o := s.open()
			upper, lowers := s.layers(o)
			wantLayer(t, upper, s.Upper)
			wantLayer(t, lowers[0], s.Lower)
			wantAll(t, s.restoreWith(o, RestoreOptions{}, "f", "d"), StatusDone)
			s.wantContent("f", "lower:f")
		})
	}
}

// mountEscaped mounts as a user does who finds the spelling that his kernel
// takes: they differ in what they unescape.
func (s *stage) mountEscaped() bool {
	s.t.Helper()
	comma := strings.NewReplacer(",", `\,`)
	lower := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	all := strings.NewReplacer(`\`, `\\`, ",", `\,`)
	for _, upper := range []*strings.Replacer{all, comma, lower} {
		data := "lowerdir=" + lower.Replace(s.Lower) + ",upperdir=" + upper.Replace(s.Upper) + ",workdir=" + upper.Replace(s.Work)
		if s.userxattr {
			data += ",userxattr"
		}
		if unix.Mount("overlay", s.Merged, "overlay", 0, data) == nil {
			s.t.Cleanup(func() { _ = unix.Unmount(s.Merged, unix.MNT_DETACH) })
			return true
		}
	}
	return false
}

// Layers may be named relative to a directory that is nobody's any more.
func TestRelativePaths(t *testing.T) {
	for _, from := range []string{"beside", "elsewhere"} {
		t.Run(from, func(t *testing.T) {
			s := newStage(t)
			s.fillLower("f", "d/f")
			t.Chdir(filepath.Dir(s.Lower))
			s.mount("lowerdir=lower", "upperdir=./upper", "workdir=../"+filepath.Base(filepath.Dir(s.Work))+"/work")
			s.remove("f", "d")
			if from == "elsewhere" {
				t.Chdir(t.TempDir())
			}
			o := s.open()
			upper, lowers := s.layers(o)
			wantLayer(t, upper, s.Upper)
			wantLayer(t, lowers[0], s.Lower)
			wantAll(t, s.restoreWith(o, RestoreOptions{}, "f", "d"), StatusDone)
		})
	}
}

// A layer may be named through a symbolic link, whose target is hidden by now.
func TestLayersNamedThroughSymlinks(t *testing.T) {
	s := newStage(t)
	s.fillLower("f")
	base := filepath.Dir(s.Lower)
	s.must(os.Symlink(base, join(base, "link")))
	s.mount("lowerdir="+join(base, "link/lower"), "upperdir="+join(base, "link/upper"), "workdir="+join(base, "link/work"))
	s.remove("f")
	namespace.Mount(t, "tmpfs", s.Upper, "tmpfs", 0, "")
	namespace.Mount(t, "tmpfs", s.Lower, "tmpfs", 0, "")
	wantAll(t, s.restore(RestoreOptions{}, "f"), StatusDone)
	s.wantContent("f", "lower:f")
}

// An upper that nobody can reach: an error that names what was tried, and
// nothing changed.
func TestUpperGone(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("f")
		s.mount()
		s.remove("f")
		away := join(filepath.Dir(s.Upper), "away")
		s.must(os.Mkdir(away, 0o755))
		s.must(os.Rename(s.Upper, join(away, "called otherwise")))
		before := tree(t, away)

		results := s.restore(opts, "f")

		unreached := asResult[*UnreachedError](t, results)
		if unreached.Layer != "upper" || unreached.Path != s.Upper || len(unreached.Tried) == 0 {
			t.Errorf("%+v", unreached)
		}
		if !strings.Contains(results[0].Err.Error(), s.Upper) {
			t.Errorf("the error does not name what was looked for: %v", results[0].Err)
		}
		wantTree(t, away, before)
	})
}

// Proving makes an entry in the merged view, and takes it away again.
func TestProofLeavesNothing(t *testing.T) {
	s := newStage(t)
	s.fillLower("f")
	s.mount()
	before := tree(t, s.Upper)
	o := s.open()
	if upper, err := o.Upper(); err != nil || upper.Sure == Proven {
		t.Errorf("for reading: %+v, %v; want it not proven", upper, err)
	}
	upper, err := o.ProvenUpper()
	if err != nil || upper.Sure != Proven {
		t.Errorf("for writing: %+v, %v; want it proven", upper, err)
	}
	wantTree(t, s.Upper, before)
	s.wantNames("", "f")
}
