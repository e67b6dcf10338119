// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// stage is an overlay and its layers, as a test sets them up. What goes wrong
// in the setting fails the test.
type stage struct {
	t *testing.T
	*namespace.Overlay
	userxattr bool
}

// newStage makes the layers' directories, on a disk where there is one.
func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageIn(t, namespace.Disk(t))
}

func newStageIn(t *testing.T, dir string) *stage {
	t.Helper()
	return &stage{t: t, Overlay: namespace.NewOverlayIn(t, dir), userxattr: !namespace.Privileged()}
}

// variant is a way to run one test of restoring.
type variant struct {
	method    Method
	userxattr bool
}

func (v variant) String() string {
	name := string(v.method)
	if v.userxattr {
		name += "-userxattr"
	}
	return name
}

// onEach runs a test with both methods, by trusted.* xattrs where that is
// allowed, and by user.* ones.
func onEach(t *testing.T, test func(t *testing.T, s *stage, opts RestoreOptions)) {
	t.Helper()
	for _, v := range []variant{
		{MethodRemount, false}, {MethodAuto, false}, {MethodRemount, true}, {MethodAuto, true},
	} {
		if !v.userxattr && !namespace.Privileged() {
			continue // the same test runs with user.* attributes
		}
		t.Run(v.String(), func(t *testing.T) {
			s := newStage(t)
			s.userxattr = v.userxattr
			test(t, s, RestoreOptions{Method: v.method})
		})
	}
}

// needTrusted is for what no mount with user.* xattrs can have: redirects,
// metacopy, an index over a lower that is renamed in.
func needTrusted(t *testing.T) {
	t.Helper()
	if !namespace.Privileged() {
		t.Skip("the kernel allows this only with trusted.* xattrs: runs as root")
	}
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// mount mounts the overlay; options are those of mount -o.
func (s *stage) mount(options ...string) {
	s.t.Helper()
	if s.userxattr && namespace.Privileged() {
		options = append(options, "userxattr")
	}
	s.Overlay.Mount(s.t, options...)
}

func (s *stage) merged(rel string) string  { return join(s.Merged, rel) }
func (s *stage) inUpper(rel string) string { return join(s.Upper, rel) }
func (s *stage) inLower(rel string) string { return join(s.Lower, rel) }

// join does not clean: tests mean what they write.
func join(dir, rel string) string {
	if rel == "" {
		return dir
	}
	return dir + "/" + rel
}

// fill makes files in a directory, with their parents: a path that ends in a
// slash is a directory, "name -> target" a symbolic link, and any other a file
// whose content is its own path with the directory's last name before it.
func fill(t *testing.T, dir string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := makeOne(dir, p); err != nil {
			t.Fatal(err)
		}
	}
}

func makeOne(dir, p string) error {
	if name, target, ok := strings.Cut(p, " -> "); ok {
		if err := os.MkdirAll(filepath.Dir(join(dir, name)), 0o755); err != nil {
			return err
		}
		return os.Symlink(target, join(dir, name))
	}
	if strings.HasSuffix(p, "/") {
		return os.MkdirAll(join(dir, p), 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(join(dir, p)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(join(dir, p), []byte(contentIn(dir, p)), 0o644)
}

// contentIn is what fill writes into dir/rel.
func contentIn(dir, rel string) string { return filepath.Base(dir) + ":" + rel }

// fillLower fills the lower before the overlay is mounted.
func (s *stage) fillLower(paths ...string) {
	s.t.Helper()
	fill(s.t, s.Lower, paths...)
}

// remove deletes through the overlay, trees too.
func (s *stage) remove(rels ...string) {
	s.t.Helper()
	for _, rel := range rels {
		s.must(os.RemoveAll(s.merged(rel)))
	}
}

// write changes or makes a file through the overlay.
func (s *stage) write(rel, content string) {
	s.t.Helper()
	s.must(os.WriteFile(s.merged(rel), []byte(content), 0o644))
}

func (s *stage) open() *Overlay {
	s.t.Helper()
	return openOverlay(s.t, s.Merged, Options{})
}

func openOverlay(t *testing.T, path string, opts Options) *Overlay {
	t.Helper()
	o, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Errorf("close the overlay: %v", err)
		}
	})
	return o
}

// restore opens the overlay anew, as each run of the tool does, and restores
// paths given relative to the mount point.
func (s *stage) restore(opts RestoreOptions, rels ...string) []Result {
	s.t.Helper()
	o, err := Open(s.Merged, Options{})
	s.must(err)
	defer func() { s.must(o.Close()) }()
	return s.restoreWith(o, opts, rels...)
}

func (s *stage) restoreWith(o *Overlay, opts RestoreOptions, rels ...string) []Result {
	s.t.Helper()
	paths := make([]string, len(rels))
	for i, rel := range rels {
		paths[i] = s.merged(rel)
	}
	if opts.Keeper == nil && opts.Discard {
		opts.Keeper = s.keep().open
	}
	return o.Restore(context.Background(), paths, opts)
}

// wantAll checks that every result has that status.
func wantAll(t *testing.T, results []Result, status Status) {
	t.Helper()
	if len(results) == 0 {
		t.Errorf("no results")
	}
	for _, r := range results {
		if r.Status != status {
			t.Errorf("%q: %s %s: %s: %v; want %s", shorten(r.Path), r.Method, r.Action, r.Status, r.Err, status)
		}
		if hasErr := r.Status == StatusFailed || r.Status == StatusBusy; hasErr != (r.Err != nil) {
			t.Errorf("%q: status %s with error %v", shorten(r.Path), r.Status, r.Err)
		}
	}
}

func shorten(path string) string {
	if len(path) <= 300 {
		return path
	}
	return path[:150] + "…" + path[len(path)-150:]
}

// wantFailed checks that there is one result, which failed with target.
func wantFailed(t *testing.T, results []Result, target error) {
	t.Helper()
	if len(results) != 1 || results[0].Status != StatusFailed || !errors.Is(results[0].Err, target) {
		t.Errorf("results %+v, want one that failed with %v", results, target)
	}
}

// asResult finds a typed error in the only result.
func asResult[E error](t *testing.T, results []Result) E {
	t.Helper()
	var target E
	if len(results) != 1 || !errors.As(results[0].Err, &target) {
		t.Fatalf("results %+v, want one with a %T", results, target)
	}
	return target
}

// wantLower checks that the merged file is the lower's, to read and in the
// listing of its directory.
func (s *stage) wantLower(rels ...string) {
	s.t.Helper()
	for _, rel := range rels {
		s.wantContent(rel, contentIn(s.Lower, rel))
		s.wantListed(rel, true)
	}
}

func (s *stage) wantContent(rel, want string) {
	s.t.Helper()
	got, err := os.ReadFile(s.merged(rel))
	if err != nil || string(got) != want {
		s.t.Errorf("%s: %q, %v; want %q", rel, got, err, want)
	}
}

func (s *stage) wantAbsent(rels ...string) {
	s.t.Helper()
	for _, rel := range rels {
		if _, err := os.Lstat(s.merged(rel)); !errors.Is(err, os.ErrNotExist) {
			s.t.Errorf("%s: %v, want ENOENT", rel, err)
		}
		s.wantListed(rel, false)
	}
}

func (s *stage) wantListed(rel string, want bool) {
	s.t.Helper()
	dir, err := os.ReadDir(filepath.Dir(s.merged(rel)))
	if err != nil {
		s.t.Errorf("list the directory of %s: %v", rel, err)
		return
	}
	got := slices.ContainsFunc(dir, func(e fs.DirEntry) bool { return e.Name() == filepath.Base(rel) })
	if got != want {
		s.t.Errorf("%s is in the listing of its directory: %t, want %t", rel, got, want)
	}
}

// wantNames checks the whole listing of a merged directory.
func (s *stage) wantNames(rel string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, namesIn(s.t, s.merged(rel))); diff != "" {
		s.t.Errorf("names in %q (-want +got):\n%s", rel, diff)
	}
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wantWhiteout checks what the upper itself holds.
func (s *stage) wantWhiteout(rel string, want bool) {
	s.t.Helper()
	var st unix.Stat_t
	err := unix.Lstat(s.inUpper(rel), &st)
	got := err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
	if got != want {
		s.t.Errorf("whiteout %s in the upper: %t (mode %o, %v), want %t", rel, got, st.Mode, err, want)
	}
}

// tree describes all below a directory: types, modes, content, overlay xattrs.
// Two equal descriptions mean that nothing a user knows of has changed.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	return everyEntry(t, dir, describe)
}

// everyEntry looks at a directory and at each entry below it, and says what was
// seen there, by the path from it.
func everyEntry[T any](t *testing.T, root string, look func(path string) (T, error)) map[string]T {
	t.Helper()
	all := map[string]T{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err == nil {
			all[rel], err = look(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func describe(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	text := fmt.Sprintf("%06o %d:%d", st.Mode, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(" %q", data)
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		text += " -> " + target
	case unix.S_IFCHR, unix.S_IFBLK:
		text += fmt.Sprintf(" dev %d", st.Rdev)
	}
	return text + marks(path), nil
}

// marks are the overlay's xattrs that change what is seen.
func marks(path string) string {
	var b strings.Builder
	for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
		for _, key := range []string{"opaque", "redirect", "whiteout", "metacopy"} {
			buf := make([]byte, 4096)
			if n, err := unix.Lgetxattr(path, prefix+key, buf); err == nil {
				fmt.Fprintf(&b, " %s=%q", prefix+key, buf[:n])
			}
		}
	}
	return b.String()
}

// wantTree checks that a directory is as described before.
func wantTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("%s changed (-before +now):\n%s", dir, diff)
	}
}

// state is what the tool says of a path's entry in the upper.
func (s *stage) state(rel string) ioctl.UpperState {
	s.t.Helper()
	o, err := Open(s.Merged, Options{})
	s.must(err)
	defer func() { s.must(o.Close()) }()
	st, err := o.State(s.merged(rel))
	if err != nil {
		s.t.Fatalf("state of %s: %v", rel, err)
	}
	return st
}

// xattr puts the name space of this stage's overlay before key.
func (s *stage) xattr(key string) string {
	if s.userxattr {
		return "user.overlay." + key
	}
	return "trusted.overlay." + key
}

// scaled is how often to repeat something, or how much of it to make: a tenth
// in a short run, as an emulated guest's is.
func scaled(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// nextTick waits until a file that is changed gets another time than those
// changed before: the kernel's clock for that moves every 4 ms or so.
func nextTick() { time.Sleep(20 * time.Millisecond) }
