// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// File names are bytes, of up to 255.
func TestStrangeNames(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		names := []string{
			"new\nline", "tab\there", "not\xff\xfeUTF-8", " blank ", "-dash", "*?[x]", `back\slash`,
			"x (deleted)", "…", "\x01", strings.Repeat("n", 255), strings.Repeat("\xff", 255), "a,b=c:d",
		}
		var rels []string
		for _, name := range names {
			rels = append(rels, name+"/f", "d/"+name)
		}
		s.fillLower(rels...)
		s.mount()
		s.remove(rels...)
		s.write("d/own", "own")

		wantAll(t, s.restore(opts, rels...), StatusDone)

		s.wantLower(rels...)
		s.remove(rels...)
		opts.Recursive = true
		results := s.restore(opts, names...)
		wantAll(t, results, StatusDone)
		for i, r := range results {
			if r.Path != s.merged(names[i]+"/f") {
				t.Errorf("result path %q, want %q", r.Path, s.merged(names[i]+"/f"))
			}
		}
		for _, name := range names {
			s.wantLower(name + "/f")
		}
	})
}

// beyondPathMax is a directory so deep that its relative path is times longer
// than PATH_MAX: many levels, and in a short run fewer with longer names.
func beyondPathMax(times int) (name string, levels int) {
	if testing.Short() {
		return strings.Repeat("d", 200), times * 21
	}
	return "d", times * 2100
}

// deep makes nested directories with a file in the last, by steps.
func deep(t *testing.T, base, name string, levels int, file string) {
	t.Helper()
	fd, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range levels {
		if err != nil {
			break
		}
		var next int
		if err = unix.Mkdirat(fd, name, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
			next, err = unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			closeFD(fd)
			fd = next
		}
	}
	if err == nil {
		var f int
		f, err = unix.Openat(fd, file, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err == nil {
			_, err = unix.Write(f, []byte("deep"))
			closeFD(f)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	closeFD(fd)
}

// at does something in the directory that a path of any length leads to.
func at(t *testing.T, path string, do func(dir int) error) {
	t.Helper()
	dir, err := openPath(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatalf("open a path of %d bytes: %v", len(path), err)
	}
	defer closeFD(dir)
	if err := do(dir); err != nil {
		t.Error(err)
	}
}

func TestBeyondPathMax(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		name, levels := beyondPathMax(1)
		deep(t, s.Lower, name, levels, "f")
		deep(t, s.Lower, name, levels, "shadow")
		s.mount()
		dir := strings.Repeat(name+"/", levels)
		at(t, s.merged(dir), func(fd int) error { return unix.Unlinkat(fd, "f", 0) })
		wantFile := func(name string) {
			t.Helper()
			at(t, s.merged(dir), func(fd int) error {
				if st, err := lstatAt(fd, name); err != nil || st.Size != 4 {
					t.Errorf("%s: size %d, %v", name, st.Size, err)
				}
				return nil
			})
		}

		wantAll(t, s.restore(opts, dir+"f"), StatusDone)
		wantFile("f")

		at(t, s.merged(dir), func(fd int) error { return unix.Unlinkat(fd, "f", 0) })
		at(t, s.merged(dir), func(fd int) error {
			f, err := unix.Openat(fd, "shadow", unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
			closeFD(f)
			return err
		})
		opts.Recursive, opts.Discard = true, true
		results := s.restore(opts, "")
		wantAll(t, results, StatusDone)
		if len(results) != 2 {
			t.Errorf("%d results, want 2", len(results))
		}
		wantFile("f")
		wantFile("shadow")
	})
}

func TestTwiceBeyondPathMax(t *testing.T) {
	s := newStage(t)
	name, levels := beyondPathMax(2)
	deep(t, s.Lower, name, levels, "f")
	s.mount()
	dir := strings.Repeat(name+"/", levels)
	at(t, s.merged(dir), func(fd int) error { return unix.Unlinkat(fd, "f", 0) })
	wantAll(t, s.restore(RestoreOptions{Method: MethodRemount}, dir+"f"), StatusDone)
	at(t, s.merged(dir), func(fd int) error {
		_, err := lstatAt(fd, "f")
		return err
	})
}

// Deep trees, one deviation a level.
func TestManyLevelsOfDeviations(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		levels := 300
		if testing.Short() {
			levels = 60 // what it costs grows with the square
		}
		path := ""
		var rels []string
		for range levels {
			path += "d/"
			rels = append(rels, path+"f")
		}
		s.fillLower(rels...)
		s.mount()
		s.remove(rels...)
		opts.Recursive = true
		results := s.restore(opts, "d")
		wantAll(t, results, StatusDone)
		if len(results) != levels {
			t.Errorf("%d results, want %d", len(results), levels)
		}
		s.wantLower(rels...)
	})
}

// An attacker who can write to the upper plants a symbolic link on the way to an
// entry. Nothing outside may be touched.
func TestSymlinkPlantedInTheUpper(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		outside := namespace.Disk(t) // where the upper is, so that it can be moved there
		s.fillLower("d/sub/f", "d/sub/shadow")
		s.mount()
		s.remove("d/sub/f")
		s.write("d/sub/shadow", "edited")
		// The overlay goes on with what it has cached; the upper is not what it was.
		s.must(os.Rename(s.inUpper("d/sub"), join(outside, "sub")))
		s.must(os.Symlink(join(outside, "sub"), s.inUpper("d/sub")))
		before := tree(t, outside)
		opts.Discard = true

		for _, recursive := range []bool{false, true} {
			opts.Recursive = recursive
			wantAll(t, s.restore(opts, "d/sub/f", "d/sub/shadow"), StatusFailed)
			wantTree(t, outside, before)
		}
		opts.Recursive = true
		s.restore(opts, "d/sub")
		wantTree(t, outside, before)
	})
}

// The same, planted after all was planned and proven.
func TestSymlinkPlantedLate(t *testing.T) {
	remountOnly(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		outside := namespace.Disk(t) // where the upper is, so that it can be moved there
		s.fillLower("d/sub/f", "d/sub/shadow")
		s.mount()
		s.remove("d/sub/f")
		s.write("d/sub/shadow", "edited")
		var before map[string]string
		k := s.keep()
		opts.Discard = true
		opts.Keeper = func(upper *Layer) (Keeper, error) {
			s.must(os.Rename(s.inUpper("d/sub"), join(outside, "sub")))
			s.must(os.Symlink(join(outside, "sub"), s.inUpper("d/sub")))
			before = tree(t, outside)
			return k.open(upper)
		}
		wantAll(t, s.restore(opts, "d/sub/f", "d/sub/shadow"), StatusFailed)
		wantTree(t, outside, before)
	})
}

func TestMalformedPaths(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage, opts RestoreOptions) {
		s.fillLower("d/f")
		s.mount()
		s.remove("d/f")
		before := tree(t, s.Upper)
		o := s.open()
		for path, want := range map[string]error{
			"":                       unix.EINVAL,
			"relative":               unix.EINVAL,
			s.merged("d/."):          unix.EINVAL,
			s.merged("d/.."):         unix.EINVAL,
			s.merged("d/f\x00x"):     unix.EINVAL,
			"/":                      unix.EXDEV,
			"///":                    unix.EXDEV,
			s.inLower("d/f"):         unix.EXDEV,
			s.merged("d/../../x"):    unix.EXDEV,
			s.Merged:                 unix.EXDEV,
			s.merged("d/f/x"):        unix.ENOENT,
			s.merged("no/such/path"): unix.ENOENT,
			s.merged("d/" + strings.Repeat("n", 256)): unix.ENAMETOOLONG,
		} {
			wantFailed(t, o.Restore(t.Context(), []string{path}, opts), want)
		}
		wantTree(t, s.Upper, before)
		s.write("file", "x")
		wantFailed(t, o.Restore(t.Context(), []string{s.merged("file/x")}, opts), unix.ENOTDIR)
	})
}
