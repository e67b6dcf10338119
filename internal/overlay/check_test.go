// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

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
	clock, boot := timeNow, bootTime
	t.Cleanup(func() { timeNow, bootTime = clock, boot })
	bootTime = func() (time.Time, error) { return clock().Add(-time.Hour), nil }
	timeNow = func() time.Time { return clock().Add(leftoverIdle) }
	got := s.check()
	wantFound(t, got, found{WorkLeftover, Notice, InWork, "work/#1f"})
	if want := "is going on: nothing was written to it for 5 minutes"; len(got) == 1 && !strings.Contains(got[0].What, want) {
		t.Errorf("%q does not say %q", got[0].What, want)
	}
	bootTime = func() (time.Time, error) { return clock().Add(time.Hour), nil }
	wantFound(t, s.check(), found{WorkLeftover, Problem, InWork, "work/#1f"})
}

// A work directory that is out of sight is no fault, but was not looked at.
func TestCheckWorkIsNotFound(t *testing.T) {
	s := newCheckStage(t)
	s.mount()
	s.live()
	wantFound(t, s.check())
	s.must(os.Rename(s.Work, s.Work+".elsewhere"))
	wantFound(t, s.check(), found{WorkNotFound, Notice, InWork, "."})
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
