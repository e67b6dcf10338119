// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// shaker makes random changes in a merged tree, as users and package managers
// do: what arises in the upper is the kernel's own.
type shaker struct {
	t    *testing.T
	rand *rand.Rand
	root string
}

var shakerNames = []string{"a", "b", "c", "d"}

func (s *shaker) path() string {
	path := s.root
	for range 1 + s.rand.IntN(3) {
		path = filepath.Join(path, shakerNames[s.rand.IntN(len(shakerNames))])
	}
	return path
}

// change does one thing. Most are impossible where they come: that is fine.
func (s *shaker) change(number int) {
	path := s.path()
	switch s.rand.IntN(14) {
	case 0, 1, 2:
		_ = os.MkdirAll(path, 0o755)
	case 3, 4:
		_ = os.WriteFile(path, fmt.Appendf(nil, "%d", number), 0o644)
	case 5:
		_ = os.RemoveAll(path)
	case 6: // opaque
		if os.RemoveAll(path) == nil {
			_ = os.Mkdir(path, 0o755)
		}
	case 7, 9, 10, 11, 12, 13: // redirect, for a directory
		_ = os.Rename(path, s.path())
	case 8:
		_ = os.Chmod(path, 0o755)
	}
}

// view is a tree as one side sees it: the types and sizes by path.
type view map[string]string

func kind(mode fs.FileMode, size int64) string {
	if mode.IsDir() {
		return "dir"
	}
	return fmt.Sprintf("%s %d", mode.Type(), size)
}

// kernelView walks a mount. What the kernel refuses to show is not in it.
func kernelView(t *testing.T, root string) view {
	t.Helper()
	v := view{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		v[rel] = kind(info.Mode(), info.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// layersView walks the layers by our own rules.
func layersView(t *testing.T, l *Layers) view {
	t.Helper()
	v := view{}
	var walk func(rel string)
	walk = func(rel string) {
		v[rel] = "dir"
		dir, err := l.openAt(rel)
		if err != nil {
			t.Errorf("open %q in the layers: %v", rel, err)
			return
		}
		defer dir.close()
		names, err := l.mergedNames(dir.Dir)
		if err != nil {
			t.Errorf("names in %q: %v", rel, err)
		}
		for _, name := range names {
			at := joinRel(rel, name)
			e, found, err := dir.upperEntry(name)
			if err == nil && !found {
				var low lowerEntry
				low, found, err = dir.lowerEntry(name)
				e = low.entry
			}
			if err != nil || !found || e.whiteout {
				t.Errorf("%q is listed in the layers, but found %t, whiteout %t, %v", at, found, e.whiteout, err)
				continue
			}
			if e.isDir() {
				walk(at)
				continue
			}
			v[at] = kind(fileMode(e.stat.Mode), e.stat.Size)
		}
	}
	walk(".")
	return v
}

func fileMode(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFREG:
		return 0
	case unix.S_IFCHR:
		return fs.ModeDevice | fs.ModeCharDevice
	}
	return fs.ModeIrregular
}

// The kernel is the oracle: random trees of several layers, each of them once the
// upper of a mount, look to our rules as they look when mounted, with the upper
// and without it.
func TestLayersAsTheKernelMergesThem(t *testing.T) {
	redirects := 0
	for seed := range uint64(scaled(170)) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			redirects += checkRandomLayers(t, seed)
		})
	}
	if namespace.Privileged() && redirects < scaled(100) {
		t.Errorf("only %d redirects arose in all these trees", redirects)
	}
}

func checkRandomLayers(t *testing.T, seed uint64) (redirects int) {
	s := newStage(t)
	var options []string
	if namespace.Privileged() {
		options = append(options, "redirect_dir=on")
	}
	random := rand.New(rand.NewPCG(seed, 1))
	base := filepath.Dir(s.Lower)
	(&shaker{t, random, s.Lower}).shake()
	lowers := []string{s.Lower}
	for layer := range 2 + random.IntN(3) {
		o := namespace.Overlay{Upper: fmt.Sprintf("%s/layer%d", base, layer), Work: fmt.Sprintf("%s/work%d", base, layer), Merged: s.Merged}
		s.must(os.Mkdir(o.Upper, 0o755))
		s.must(os.Mkdir(o.Work, 0o755))
		o.Mount(t, append(options, "lowerdir="+strings.Join(lowers, ":"))...)
		(&shaker{t, random, s.Merged}).shake()
		o.Unmount(t)
		lowers = slices.Insert(lowers, 0, o.Upper)
	}
	options = append(options, "lowerdir="+strings.Join(lowers, ":"))
	s.mount(options...)
	(&shaker{t, random, s.Merged}).shake()
	for _, dir := range append(lowers, s.Upper) {
		for _, text := range tree(t, dir) {
			redirects += strings.Count(text, "overlay.redirect=")
		}
	}
	without := *s.Overlay
	without.Merged = base + "/without"
	s.must(os.Mkdir(without.Merged, 0o755))
	readOnly := append(slices.Clone(options), "upperdir=")
	without.Mount(t, readOnly...)

	o := s.open()
	s.must((&restorer{Overlay: o}).reachAll())
	layers := o.layers()
	if diff := cmp.Diff(kernelView(t, s.Merged), layersView(t, layers)); diff != "" {
		t.Errorf("with the upper (-kernel +ours):\n%s", diff)
	}
	layers.upper = nil
	if diff := cmp.Diff(kernelView(t, without.Merged), layersView(t, layers)); diff != "" {
		t.Errorf("without the upper (-kernel +ours):\n%s", diff)
	}
	if !t.Failed() {
		return redirects
	}
	for _, dir := range append(lowers, s.Upper) {
		t.Logf("%s: %s", filepath.Base(dir), cmp.Diff(nil, tree(t, dir)))
	}
	return redirects
}

func (s *shaker) shake() {
	for i := range 25 {
		s.change(i)
	}
}

// From any state that users can get into, a recursive restore with Discard ends
// with the merged view equal to what the lowers alone show.
func TestRandomTreesEqualTheLowersAfterRestore(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			s := newStage(t)
			var options []string
			if namespace.Privileged() {
				options = append(options, "redirect_dir=on", "metacopy=on")
			}
			random := rand.New(rand.NewPCG(seed, 2))
			(&shaker{t, random, s.Lower}).shake()
			want := tree(t, s.Lower)
			s.mount(options...)
			(&shaker{t, random, s.Merged}).shake()
			method := []Method{MethodRemount, MethodAuto}[seed%2]

			results := s.restore(RestoreOptions{Method: method, Recursive: true, Discard: true}, "")

			for _, r := range results {
				if r.Status != StatusDone {
					t.Errorf("%+v", r)
				}
			}
			wantTree(t, s.Merged, want)
			wantTree(t, s.Lower, want)
		})
	}
}
