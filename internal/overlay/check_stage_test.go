// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// found is a finding without its words.
type found struct {
	Code     Code
	Severity Severity
	In       Place
	Path     string
}

func briefly(t *testing.T, findings []Finding) []found {
	t.Helper()
	var all []found
	for _, f := range findings {
		if f.What == "" || f.Effect == "" {
			t.Errorf("%s does not say what it is: %+v", f.Code, f)
		}
		all = append(all, found{f.Code, f.Severity, f.In, f.Path})
	}
	return all
}

func (s *stage) check() []Finding {
	s.t.Helper()
	o, err := Open(s.Merged, Options{})
	s.must(err)
	findings, err := o.Check(context.Background(), CheckOptions{})
	s.must(errors.Join(err, o.Close()))
	return findings
}

func (s *stage) unmounted() *Unmounted {
	s.t.Helper()
	u, err := OpenUnmounted(Directories{Upper: s.Upper, Lowers: []string{s.Lower}, Work: s.Work}, LayerOptions{UserXattr: s.userxattr})
	s.must(err)
	s.t.Cleanup(func() {
		if err := u.Close(); err != nil {
			s.t.Errorf("close the layers: %v", err)
		}
	})
	return u
}

func (s *stage) checkUnmounted() []Finding {
	s.t.Helper()
	findings, err := s.unmounted().Check(context.Background(), CheckOptions{})
	s.must(err)
	return findings
}

func wantFound(t *testing.T, got []Finding, want ...found) {
	t.Helper()
	if diff := cmp.Diff(want, briefly(t, got)); diff != "" {
		t.Errorf("findings (-want +got):\n%s%+v", diff, got)
	}
}

func inUpper(code Code, path string) found { return found{code, Problem, InUpper, path} }

// mark sets an overlay xattr of an upper entry by hand.
func (s *stage) mark(rel, key, value string) {
	s.t.Helper()
	s.must(unix.Lsetxattr(s.inUpper(rel), s.xattr(key), []byte(value), 0))
}

func (s *stage) unmark(rel, key string) {
	s.t.Helper()
	s.must(unix.Lremovexattr(s.inUpper(rel), s.xattr(key)))
}

func (s *stage) whiteout(rel string) {
	s.t.Helper()
	s.must(unix.Mknod(s.inUpper(rel), unix.S_IFCHR, 0))
}

func (s *stage) wrongXattr(key string) string {
	if s.userxattr {
		return "trusted.overlay." + key
	}
	return "user.overlay." + key
}

// wantRepaired repairs the unmounted overlay, and asserts that the entries
// named are gone or changed and nothing else is.
func (s *stage) wantRepaired(changed ...string) {
	s.t.Helper()
	before := wholeTree(s.t, filepath.Dir(s.Upper))
	u := s.unmounted()
	findings, err := u.Check(context.Background(), CheckOptions{})
	s.must(err)
	s.must(u.Repair(context.Background(), findings, RepairOptions{Keeper: s.keep().open}))
	for _, f := range findings {
		if f.Repaired != f.Code.Repairable() || f.Err != nil {
			s.t.Errorf("%s %s: repaired %v, %v", f.Code, f.Path, f.Repaired, f.Err)
		}
		if f.Backup != "" {
			if _, err := os.Lstat(f.Backup); err != nil {
				s.t.Errorf("%s %s: no backup: %v", f.Code, f.Path, err)
			}
		}
	}
	after := wholeTree(s.t, filepath.Dir(s.Upper))
	var got []string
	for path := range before {
		if after[path] != before[path] {
			got = append(got, path)
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok && path != "kept" && !strings.HasPrefix(path, "kept/") {
			got = append(got, path)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(changed, got); diff != "" {
		s.t.Errorf("what the repair changed (-want +got):\n%s", diff)
	}
	for _, f := range s.checkUnmounted() {
		if f.Code.Repairable() {
			s.t.Errorf("after the repair: %+v", f)
		}
	}
}

// wholeTree describes everything below a directory with all its xattrs. Of
// directories, the times and the size change with what is in them.
func wholeTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := tree(t, dir)
	for rel := range maps.Clone(all) {
		buf := make([]byte, 64<<10)
		n, err := unix.Llistxattr(filepath.Join(dir, rel), buf)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			t.Fatal(err)
		}
		if n > 0 {
			names := strings.Split(string(buf[:n]), "\x00")
			slices.Sort(names)
			all[rel] += strings.Join(names, " ")
		}
	}
	return all
}

// newCheckStage is a stage with something of everything that is no fault.
func newCheckStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.fillLower("etc/a", "etc/b", "etc/sub/c", "etc/sub/d", "gone/x", "gone/y", "remade/old", "link -> etc/a", "same/s", "file")
	return s
}

func (s *stage) live() {
	s.t.Helper()
	s.write("etc/a", "changed")
	s.remove("etc/b", "gone", "remade")
	s.must(os.Mkdir(s.merged("remade"), 0o755))
	s.write("remade/new", "new")
	s.write("etc/sub/new", "new")
	s.must(os.Chmod(s.merged("same"), 0o700))
	s.must(os.Remove(s.merged("link")))
	s.must(os.Rename(s.merged("file"), s.merged("remade/moved")))
	s.must(os.Link(s.merged("etc/a"), s.merged("remade/linked")))
}

func wantTreeIs(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, wholeTree(t, dir)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", dir, diff)
	}
}

// hasOrigins says whether the kernel says where entries were copied up from: in a
// user name space, and on file systems without file handles, it does not.
func (s *stage) hasOrigins() bool {
	s.t.Helper()
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(s.inUpper("etc"), s.xattr("origin"), buf)
	s.must(err)
	return originKey(buf[:n]) != ""
}

func sameDev(t *testing.T, a, b string) bool {
	t.Helper()
	var sa, sb unix.Stat_t
	if err := errors.Join(unix.Stat(a, &sa), unix.Stat(b, &sb)); err != nil {
		t.Fatal(err)
	}
	return sa.Dev == sb.Dev
}
