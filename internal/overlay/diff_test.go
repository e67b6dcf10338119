// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// layersIn makes layers below a directory, for tests that mount nothing: they
// write what the upper holds themselves, with user.* attributes.
func layersIn(t *testing.T, lowers ...string) (dir string, open func() *Layers) {
	t.Helper()
	dir = namespace.Disk(t)
	paths := make([]string, len(lowers))
	for i, l := range append([]string{"upper"}, lowers...) {
		if err := os.Mkdir(filepath.Join(dir, l), 0o755); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			paths[i-1] = filepath.Join(dir, l)
		}
	}
	return dir, func() *Layers {
		l, err := OpenLayers(filepath.Join(dir, "upper"), paths, LayerOptions{UserXattr: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		return l
	}
}

func setXattr(t *testing.T, path, name, value string) {
	t.Helper()
	if err := unix.Lsetxattr(path, "user.overlay."+name, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// lines are the deviations as text: letter, path, and what else is set.
func lines(t *testing.T, l *Layers, opts DiffOptions) []string {
	t.Helper()
	var all []string
	err := l.Diff(context.Background(), opts, func(d Deviation) error {
		line := fmt.Sprintf("%c %s", d.Kind.Letter(), d.Path)
		if d.Hides > 0 {
			line += fmt.Sprintf(" hides %d", d.Hides)
		}
		if d.From != "" {
			line += " from " + d.From
		}
		if d.Compared != NotCompared {
			line += " by " + d.Compared.String()
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deviations (-want +got):\n%s", diff)
	}
}

// The order is that of a walk, whatever is read first.
func TestDiffOrder(t *testing.T) {
	dir, open := layersIn(t, "lower")
	var want []string
	for _, top := range []string{"a", "a-", "a.b", "b"} {
		want = append(want, "A "+top)
		for i := range 30 {
			sub := fmt.Sprintf("%s/%02d", top, i)
			want = append(want, "A "+sub)
			for j := range 1 + i%3 {
				file := fmt.Sprintf("%s/%d", sub, j)
				fill(t, dir+"/upper", file)
				want = append(want, "A "+file)
			}
		}
	}
	l := open()
	for range 5 {
		wantLines(t, lines(t, l, DiffOptions{}), want...)
	}
}

// What report returns ends it, and so does the context, with what was found
// until then reported in order.
func TestDiffStops(t *testing.T) {
	dir, open := layersIn(t, "lower")
	for i := range 300 {
		fill(t, dir+"/upper", fmt.Sprintf("d%03d/f", i))
	}
	l := open()
	wrong := errors.New("wrong")
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	err := l.Diff(ctx, DiffOptions{}, func(Deviation) error {
		if n++; n == 7 {
			return wrong
		}
		return nil
	})
	if !errors.Is(err, wrong) || n != 7 {
		t.Errorf("%v after %d, want %v after 7", err, n, wrong)
	}
	n = 0
	err = l.Diff(ctx, DiffOptions{}, func(Deviation) error {
		if n++; n == 7 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n < 7 || n == 600 {
		t.Errorf("%v after %d, want %v", err, n, context.Canceled)
	}
	if err := l.Diff(ctx, DiffOptions{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// A directory with more entries than one buffer holds, and names as long as they
// can be.
func TestDiffLargeDirectory(t *testing.T) {
	dir, open := layersIn(t, "lower")
	var want []string
	for i := range 3000 {
		name := fmt.Sprintf("%04d%s", i, strings.Repeat("x", 251))
		fill(t, dir+"/upper", name)
		if i%2 == 0 {
			fill(t, dir+"/lower", name) // another content of the same size
			want = append(want, "M "+name+" by content")
		} else {
			want = append(want, "A "+name)
		}
	}
	wantLines(t, lines(t, open(), DiffOptions{Content: true}), want...)
}

func TestDiffDeep(t *testing.T) {
	dir, open := layersIn(t, "lower")
	const depth = 60 // times 200 bytes: past PATH_MAX
	name := strings.Repeat("d", 200)
	for _, layer := range []string{"upper", "lower"} {
		fd, err := unix.Open(filepath.Join(dir, layer), unix.O_PATH, 0)
		for range depth {
			if err != nil {
				t.Fatal(err)
			}
			parent := fd
			if err = unix.Mkdirat(parent, name, 0o755); err == nil {
				fd, err = unix.Openat(parent, name, unix.O_PATH, 0)
			}
			closeFD(parent)
		}
		if err == nil && layer == "upper" {
			err = unix.Mknodat(fd, "x", unix.S_IFIFO|0o600, 0)
		}
		closeFD(fd)
		if err != nil {
			t.Fatal(err)
		}
	}
	wantLines(t, lines(t, open(), DiffOptions{}), "A "+strings.Repeat(name+"/", depth)+"x")
}

// The whiteouts of Linux 6.7: regular files, in directories that say so. Older
// kernels show the files.
func TestDiffXattrWhiteouts(t *testing.T) {
	dir, open := layersIn(t, "middle", "lower")
	fill(t, dir+"/lower", "d/gone", "d/gone-below", "d/kept", "e/file")
	for _, name := range []string{"upper/d/gone", "upper/d/orphan", "middle/d/gone-below", "upper/e/file"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		setXattr(t, path, "whiteout", "y")
	}
	setXattr(t, dir+"/upper/d", "opaque", "x")
	setXattr(t, dir+"/middle/d", "opaque", "x")
	fill(t, dir+"/upper", "d/gone-below")
	l := open()
	want := []string{"D d/gone", "A d/gone-below", "W d/orphan", "M e/file by content"}
	wantMarks := []string{"d/gone", "d/orphan"}
	if !kernelHasXattrWhiteouts() {
		want = []string{"M d/gone by content", "M d/gone-below by content", "A d/orphan", "M e/file by content"}
		wantMarks = nil
	}
	wantLines(t, lines(t, l, DiffOptions{Kinds: AllKinds}), want...)
	var marks []string
	if err := l.Marks(context.Background(), nil, func(m Mark) error {
		marks = append(marks, m.Path)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	wantLines(t, marks, wantMarks...)
}

// Marks finds what a mounted overlay leaves, and nothing else.
func TestMarks(t *testing.T) {
	s := newStage(t)
	s.fillLower("d/a", "e/b", "f", "kept")
	s.mount()
	s.remove("d", "e/b", "f")
	s.must(os.Mkdir(s.merged("d"), 0o755))
	s.write("d/own", "own")
	s.write("kept", "edited")
	layers, err := s.open().Layers()
	s.must(err)
	var got []string
	s.must(layers.Marks(context.Background(), nil, func(m Mark) error {
		got = append(got, fmt.Sprintf("%s %t", m.Path, m.Opaque))
		return nil
	}))
	wantLines(t, got, "d true", "e/b false", "f false")
}

// The paths that are asked for, and what stands for them where a directory above
// is deleted.
func TestDiffPaths(t *testing.T) {
	s := newStage(t)
	s.fillLower("a/b/c", "a/x", "gone/deep/file", "t")
	s.mount()
	s.write("a/b/c", "edited")
	s.write("a/b/new", "new")
	s.write("a/x", "edited")
	s.write("a-", "beside")
	s.remove("gone")
	layers, err := s.open().Layers()
	s.must(err)
	for _, c := range []struct {
		paths []string
		want  []string
	}{
		{[]string{"."}, []string{"A a-", "M a/b/c", "A a/b/new", "M a/x", "D gone"}},
		{[]string{"a/b/new"}, []string{"A a/b/new"}},
		{[]string{"a/x", "a/b", "a/b/c"}, []string{"M a/b/c", "A a/b/new", "M a/x"}},
		{[]string{"gone/deep/file"}, []string{"D gone"}},
		{[]string{"t", "nothing", "a/nothing", "a/x/nothing"}, nil},
	} {
		var got []string
		for _, line := range lines(t, layers, DiffOptions{Paths: c.paths}) {
			line, _, _ = strings.Cut(line, " by ")
			got = append(got, line)
		}
		want := slices.Clone(c.want)
		if c.paths[0] == "." { // sorted by name in each directory: "a" before "a-"
			want = []string{"M a/b/c", "A a/b/new", "M a/x", "A a-", "D gone"}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.paths, diff)
		}
	}
}

// A file whose data lies in a layer that holds data only is compared with that.
func TestDiffDataOnly(t *testing.T) {
	needTrusted(t)
	s := newStage(t)
	data := filepath.Join(filepath.Dir(s.Lower), "data")
	fill(t, data, "object")
	content := contentIn(data, "object")
	for _, name := range []string{"same", "other", "mode"} {
		path := s.inLower(name)
		s.must(os.WriteFile(path, nil, 0o644))
		s.must(os.Truncate(path, int64(len(content))))
		s.must(unix.Lsetxattr(path, "trusted.overlay.metacopy", nil, 0))
		s.must(unix.Lsetxattr(path, "trusted.overlay.redirect", []byte("/object"), 0))
	}
	// A data-only layer is an option since 6.5.
	target := "lowerdir=" + s.Lower + "::" + data
	if err := unix.Mount("overlay", s.Merged, "overlay", 0, target+",metacopy=on,redirect_dir=on"); err != nil {
		t.Skipf("this kernel has no data-only layers: %v", err)
	}
	s.must(unix.Unmount(s.Merged, 0))
	s.mount(target, "metacopy=on", "redirect_dir=on")
	s.write("same", content)
	s.write("other", strings.ToUpper(content))
	s.must(os.Chmod(s.merged("mode"), 0o600)) // a metacopy of a metacopy
	wantFound(t, s.check())
	o := s.open()
	got := map[string]Kind{}
	s.must(o.Diff(context.Background(), DiffOptions{Content: true}, func(d Deviation) error {
		got[d.Path] = d.Kind
		return nil
	}))
	if diff := cmp.Diff(map[string]Kind{"same": Metadata, "other": Modified, "mode": Metadata}, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	both, err := o.Copies("other")
	s.must(err)
	if string(*both.Image) != content || string(*both.Merged) != strings.ToUpper(content) {
		t.Errorf("copies: %q, %q", *both.Image, *both.Merged)
	}
}

// What cannot be read is told, and the rest is compared.
func TestDiffFailures(t *testing.T) {
	dir, open := layersIn(t, "lower")
	fill(t, dir+"/upper", "a", "d/f", "z")
	if err := unix.Mount("failing", dir+"/upper/d", "tmpfs", 0, ""); err != nil {
		t.Fatal(err) // another file system: it is not entered
	}
	defer func() { _ = unix.Unmount(dir+"/upper/d", 0) }()
	l := open()
	var failed []string
	opts := DiffOptions{Failed: func(path string, err error) {
		if !errors.Is(err, unix.EXDEV) {
			t.Errorf("%s: %v", path, err)
		}
		failed = append(failed, path)
	}}
	wantLines(t, lines(t, l, opts), "A a", "A z")
	wantLines(t, failed, "d")
	if err := l.Diff(context.Background(), DiffOptions{}, func(Deviation) error { return nil }); !errors.Is(err, unix.EXDEV) {
		t.Errorf("without Failed: %v, want EXDEV", err)
	}
}
