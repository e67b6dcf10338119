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

func TestCheckFindsNothingInACleanOverlay(t *testing.T) {
	s := newCheckStage(t)
	s.mount()
	s.live()
	wantFound(t, s.check())
	s.Unmount(t)
	wantFound(t, s.checkUnmounted())
	s.wantRepaired()
	s.mount()
	wantFound(t, s.check())
}

func TestCheckOrphanWhiteout(t *testing.T) {
	s := newCheckStage(t)
	s.mount()
	s.live()
	s.Unmount(t)
	s.whiteout("etc/never")
	s.whiteout("never\n")
	wantFound(t, s.checkUnmounted(), inUpper(OrphanWhiteout, "etc/never"), inUpper(OrphanWhiteout, "never\n"))
	s.wantRepaired("upper/etc/never", "upper/never\n")
}

func TestCheckExposedWhiteout(t *testing.T) {
	s := newCheckStage(t)
	s.mount()
	s.live()
	s.Unmount(t)
	s.whiteout("remade/exposed") // an opaque directory
	fill(t, s.Upper, "own/f")
	s.whiteout("own/exposed")
	want := []found{inUpper(ExposedWhiteout, "own/exposed"), inUpper(ExposedWhiteout, "remade/exposed")}
	wantFound(t, s.checkUnmounted(), want...)
	// What the finding says, the kernel shows.
	s.mount()
	s.wantListed("own/exposed", true)
	if _, err := os.Lstat(s.merged("own/exposed")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an exposed whiteout: %v", err)
	}
	wantFound(t, s.check(), want...)
	s.Unmount(t)
	s.wantRepaired("upper/own/exposed", "upper/remade/exposed")
}

func TestRepairOnAMountedOverlay(t *testing.T) {
	s := newCheckStage(t)
	s.whiteout("never")
	fill(t, s.Upper, "own/f")
	s.whiteout("own/exposed")
	s.mount()
	s.live()
	var unrepaired []found
	if s.hasOrigins() {
		s.unmark("etc", "impure")
		unrepaired = append(unrepaired, inUpper(ImpureMissing, "etc"))
	}
	before := wholeTree(t, s.Upper)
	o := s.open()
	findings, err := o.Check(context.Background(), CheckOptions{})
	s.must(err)
	wantFound(t, findings, append(slices.Clone(unrepaired), inUpper(OrphanWhiteout, "never"), inUpper(ExposedWhiteout, "own/exposed"))...)
	k := s.keep()
	s.must(o.Repair(context.Background(), findings, RepairOptions{Keeper: k.open}))
	if diff := cmp.Diff([]string{"whiteout never", "whiteout own/exposed"}, k.notes); diff != "" {
		t.Errorf("the journal (-want +got):\n%s", diff)
	}
	for _, f := range findings {
		if f.Code == ImpureMissing {
			if f.Repaired || !errors.Is(f.Err, ErrMountedRepair) {
				t.Errorf("repaired while mounted: %+v", f)
			}
		} else if !f.Repaired || f.Err != nil {
			t.Errorf("not repaired: %+v", f)
		}
	}
	delete(before, "never")
	delete(before, "own/exposed")
	if diff := cmp.Diff(before, wholeTree(t, s.Upper)); diff != "" {
		t.Errorf("the upper (-want +got):\n%s", diff)
	}
	wantFound(t, s.check(), unrepaired...)
	s.wantNames("own", "f")
}

func TestRepairRefusesLayersInUse(t *testing.T) {
	s := newCheckStage(t)
	s.whiteout("never")
	s.mount()
	before := wholeTree(t, filepath.Dir(s.Upper))
	u := s.unmounted()
	findings, err := u.Check(context.Background(), CheckOptions{})
	s.must(err)
	err = u.Repair(context.Background(), findings, RepairOptions{Keeper: s.keep().open})
	var mounted *MountedError
	if !errors.As(err, &mounted) || mounted.Point != s.Merged || !errors.Is(err, unix.EBUSY) {
		t.Errorf("repair of a mounted upper: %v", err)
	}
	after := wholeTree(t, filepath.Dir(s.Upper))
	delete(after, "kept")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("it was refused, and changed (-want +got):\n%s", diff)
	}
}

func TestCheckRedirects(t *testing.T) {
	needTrusted(t)
	s := newCheckStage(t)
	s.fillLower("deep/in/side/z")
	s.mount("redirect_dir=on")
	s.live()
	s.must(os.Rename(s.merged("same"), s.merged("renamed")))
	s.must(os.Rename(s.merged("deep/in/side"), s.merged("side")))
	s.must(os.Rename(s.merged("deep"), s.merged("deeper")))
	wantFound(t, s.check())
	s.Unmount(t)
	wantFound(t, s.checkUnmounted())
	clean := wholeTree(t, s.Upper)

	// A whiteout removed by hand: the image's directory shows twice.
	s.must(os.Remove(s.inUpper("same")))
	wantFound(t, s.checkUnmounted(), inUpper(RedirectOriginDoubled, "renamed"))
	s.wantRepaired()
	s.whiteout("same")
	// The same below a directory that was renamed in its turn.
	s.must(os.Remove(s.inUpper("deeper/in/side")))
	wantFound(t, s.checkUnmounted(), inUpper(RedirectOriginDoubled, "side"))
	s.whiteout("deeper/in/side")
	// Two that lead to one.
	fill(t, s.Upper, "second/")
	s.mark("second", "redirect", "/same")
	wantFound(t, s.checkUnmounted(), inUpper(RedirectOriginDoubled, "second"))
	s.must(os.Remove(s.inUpper("second")))
	wantTreeIs(t, s.Upper, clean)

	// The image has it no more.
	s.must(os.RemoveAll(s.inLower("same")))
	wantFound(t, s.checkUnmounted(), inUpper(RedirectOriginMissing, "renamed"), inUpper(OrphanWhiteout, "same"))

	// Mounted by somebody who does not follow redirects.
	s.mount("redirect_dir=nofollow")
	wantFound(t, s.check(),
		inUpper(RedirectNotFollowed, "deeper"), inUpper(RedirectOriginMissing, "renamed"),
		inUpper(OrphanWhiteout, "same"), inUpper(RedirectNotFollowed, "side"))
	if _, err := os.ReadDir(s.merged("side")); !errors.Is(err, unix.EPERM) {
		t.Errorf("read a redirected directory with nofollow: %v", err)
	}
}

func wantTreeIs(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, wholeTree(t, dir)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", dir, diff)
	}
}

func TestCheckMetacopies(t *testing.T) {
	needTrusted(t)
	s := newCheckStage(t)
	s.mount("metacopy=on", "redirect_dir=on")
	s.must(os.Chmod(s.merged("etc/a"), 0o600))
	s.must(os.Chmod(s.merged("etc/b"), 0o600))
	s.must(os.Rename(s.merged("etc/b"), s.merged("moved")))
	wantFound(t, s.check())
	s.Unmount(t)
	wantFound(t, s.checkUnmounted())

	s.must(os.Remove(s.inUpper("etc/b")))
	wantFound(t, s.checkUnmounted(), inUpper(MetacopyOriginDoubled, "moved"))
	s.wantRepaired()
	s.whiteout("etc/b")

	s.must(os.Remove(s.inLower("etc/a")))
	want := inUpper(MetacopyOriginMissing, "etc/a")
	wantFound(t, s.checkUnmounted(), want)
	s.wantRepaired()
	s.mount("metacopy=on", "redirect_dir=on")
	if _, err := os.ReadFile(s.merged("etc/a")); !errors.Is(err, unix.EIO) {
		t.Errorf("read a metacopy without its content: %v", err)
	}
	wantFound(t, s.check(), want)
	s.Unmount(t)

	s.mount("metacopy=off", "redirect_dir=on")
	if _, err := os.ReadFile(s.merged("moved")); !errors.Is(err, unix.EPERM) {
		t.Errorf("read a metacopy without metacopy=on: %v", err)
	}
	wantFound(t, s.check(), want, inUpper(MetacopyNotFollowed, "moved"))
}

func TestCheckTypes(t *testing.T) {
	s := newCheckStage(t)
	s.fillLower("dir/one", "dir/two/three")
	s.mount()
	s.remove("dir")
	s.write("dir", "a file now")
	s.must(os.Mkdir(s.merged("new"), 0o755))
	got := s.check()
	wantFound(t, got, found{FileOverDirectory, Notice, InUpper, "dir"})
	if want := "a file where the image has a directory; it hides 3 entries"; len(got) == 1 && got[0].What != want {
		t.Errorf("%q, want %q", got[0].What, want)
	}
	s.Unmount(t)
	// The next image has a file where the user made a directory.
	s.fillLower("new")
	wantFound(t, s.checkUnmounted(), found{FileOverDirectory, Notice, InUpper, "dir"}, inUpper(DirectoryOverFile, "new"))
	s.wantRepaired()
}

func TestCheckImpureMissing(t *testing.T) {
	s := newCheckStage(t)
	s.mount()
	s.live()
	s.Unmount(t)
	s.unmark("etc", "impure")
	s.unmark(".", "impure")
	if !s.hasOrigins() {
		wantFound(t, s.checkUnmounted()) // the mark is of no use there
		return
	}
	wantFound(t, s.checkUnmounted(), inUpper(ImpureMissing, "."), inUpper(ImpureMissing, "etc"))
	s.wantRepaired("upper", "upper/etc")
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

func TestCheckWrongNamespace(t *testing.T) {
	needTrusted(t) // both name spaces of xattrs are needed
	s := newCheckStage(t)
	fill(t, s.Lower, "copied/f", "plain")
	fill(t, s.Upper, "etc/", "own/", "copied/", "moved/", "meta")
	s.must(os.WriteFile(s.inUpper("etc/b"), nil, 0o644))
	s.must(os.WriteFile(s.inUpper("plain"), []byte("content"), 0o644))
	for _, m := range []struct{ path, key, value string }{
		{s.inUpper("etc"), "opaque", "y"},
		{s.inUpper("own"), "opaque", "y"}, // nothing below it
		{s.inUpper("copied"), "opaque", "y"},
		{s.inLower("copied"), "opaque", "y"}, // the image's own
		{s.inUpper("moved"), "redirect", "/gone"},
		{s.inUpper("plain"), "metacopy", ""},
		{s.inUpper("meta"), "metacopy", ""}, // nothing below it
	} {
		s.must(unix.Lsetxattr(m.path, s.wrongXattr(m.key), []byte(m.value), 0))
	}
	wantFound(t, s.checkUnmounted(), inUpper(WrongNamespace, "etc"), inUpper(WrongNamespace, "moved"), inUpper(WrongNamespace, "plain"))
	s.must(unix.Lsetxattr(s.inUpper("etc"), s.wrongXattr("opaque"), []byte("x"), 0))
	s.must(unix.Lsetxattr(s.inUpper("etc/b"), s.wrongXattr("whiteout"), nil, 0))
	want := []found{inUpper(WrongNamespace, "etc/b"), inUpper(WrongNamespace, "moved"), inUpper(WrongNamespace, "plain")}
	wantFound(t, s.checkUnmounted(), want...)
	s.wantRepaired()
	s.mount()
	wantFound(t, s.check(), want...)
	s.wantListed("etc/b", true)
}

func TestCheckNewerKernel(t *testing.T) {
	s := newCheckStage(t)
	fill(t, s.Upper, "etc/")
	s.must(os.WriteFile(s.inUpper("etc/a"), nil, 0o644))
	s.mark("etc", "opaque", "x")
	s.mark("etc/a", "whiteout", "")
	known := kernelHasXattrWhiteouts
	t.Cleanup(func() { kernelHasXattrWhiteouts = known })
	kernelHasXattrWhiteouts = func() bool { return true }
	wantFound(t, s.checkUnmounted())
	kernelHasXattrWhiteouts = func() bool { return false }
	wantFound(t, s.checkUnmounted(), inUpper(NewerKernel, "etc/a"))
	s.wantRepaired()
}

func TestCheckLowerChanged(t *testing.T) {
	s := newCheckStage(t)
	s.mount()
	s.live()
	s.Unmount(t)
	s.must(os.Rename(s.Lower, s.Lower+".old"))
	s.must(os.CopyFS(s.Lower, os.DirFS(s.Lower+".old")))
	if !s.hasOrigins() {
		wantFound(t, s.checkUnmounted()) // nothing tells
		return
	}
	wantFound(t, s.checkUnmounted(), found{LowerChanged, Notice, InUpper, "."})
	s.wantRepaired()
	s.mount()
	wantFound(t, s.check(), found{LowerChanged, Notice, InUpper, "."})
}

func TestCheckLowerChangedUnderRedirects(t *testing.T) {
	needTrusted(t)
	s := newCheckStage(t)
	s.mount("redirect_dir=on")
	s.write("etc/a", "changed")
	s.must(os.Rename(s.merged("same"), s.merged("renamed")))
	s.Unmount(t)
	s.must(os.Rename(s.Lower, s.Lower+".old"))
	s.must(os.CopyFS(s.Lower, os.DirFS(s.Lower+".old")))
	wantFound(t, s.checkUnmounted(), inUpper(LowerChanged, "."))
}

func TestCheckWork(t *testing.T) {
	s := newCheckStage(t)
	s.mount()
	s.live()
	s.Unmount(t)
	fill(t, s.Work, "work/#1f", "work/#2/in/side", "work/other")
	s.must(unix.Mknod(s.Work+"/work/#3", unix.S_IFCHR, 0)) // what each unmount leaves
	want := []found{{WorkLeftover, Problem, InWork, "work/#1f"}, {WorkLeftover, Problem, InWork, "work/#2"}}
	wantFound(t, s.checkUnmounted(), want...)
	s.wantRepaired("work/work/#1f", "work/work/#2", "work/work/#2/in", "work/work/#2/in/side")

	// On a mounted overlay, copy-ups may be going on.
	s.mount()
	fill(t, s.Work, "work/#1f")
	wantFound(t, s.check())
}

func TestCheckVolatile(t *testing.T) {
	s := newCheckStage(t)
	s.mount("volatile")
	s.live()
	wantFound(t, s.check())
	s.Unmount(t)
	wantFound(t, s.checkUnmounted(), found{VolatileLeft, Problem, InWork, "work/incompat/volatile"})
	s.wantRepaired()
}

func TestCheckWorkIsElsewhere(t *testing.T) {
	s := newCheckStage(t)
	s.Work = t.TempDir()
	if sameDev(t, s.Work, s.Upper) {
		s.Work = "/proc/self/task"
	}
	wantFound(t, s.checkUnmounted(), found{WorkElsewhere, Problem, InWork, "."})
	s.Work = s.Upper + "/work"
	s.must(os.Mkdir(s.Work, 0o755))
	wantFound(t, s.checkUnmounted(), found{WorkInUpper, Problem, InWork, "."})
}

func sameDev(t *testing.T, a, b string) bool {
	t.Helper()
	var sa, sb unix.Stat_t
	if err := errors.Join(unix.Stat(a, &sa), unix.Stat(b, &sb)); err != nil {
		t.Fatal(err)
	}
	return sa.Dev == sb.Dev
}
