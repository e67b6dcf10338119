// SPDX-License-Identifier: Apache-2.0

package namespace_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) {
	testscript.Main(namespace.Wrap(m), map[string]func(){
		"show-mount": showMount,
	})
}

// showMount stands for the tool: it prints the file system type of the mount
// at its argument, as this process's own name space has it.
func showMount() {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		os.Exit(1)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[4] == os.Args[1] {
			_, after, _ := strings.Cut(line, " - ")
			fstype, _, _ := strings.Cut(after, " ")
			os.Stdout.WriteString(fstype + "\n")
		}
	}
}

// A file deleted in a mounted overlay leaves a whiteout in its upper layer:
// what every test of this project builds on.
func TestOverlayIsReal(t *testing.T) {
	o := namespace.NewOverlay(t)
	if err := os.WriteFile(filepath.Join(o.Lower, "f"), []byte("lower\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Mount(t)
	if err := os.Remove(filepath.Join(o.Merged, "f")); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(o.Upper, "f"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("upper entry: mode %o, rdev %d, want a character device 0:0", st.Mode, st.Rdev)
	}
}

// The name space is not the host's: the parent process, which stayed outside,
// does not see the tmpfs that tests work on.
func TestHostDoesNotSeeMounts(t *testing.T) {
	outside, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	inside, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	scratch := " " + os.TempDir() + " "
	if !strings.Contains(string(inside), scratch) {
		t.Errorf("no mount on %s inside", os.TempDir())
	}
	if strings.Contains(string(outside), scratch) {
		t.Errorf("the mount on %s is seen outside", os.TempDir())
	}
}

// Privileged has to agree with what the kernel allows.
func TestPrivilegedMeansTrustedXattrs(t *testing.T) {
	err := unix.Setxattr(t.TempDir(), "trusted.ovl-test", []byte("y"), 0)
	if namespace.Privileged() && err != nil {
		t.Errorf("privileged, but trusted.*: %v", err)
	}
	if !namespace.Privileged() && !errors.Is(err, unix.EPERM) {
		t.Errorf("not privileged, but trusted.*: %v", err)
	}
}

func TestOverlayWithoutUpper(t *testing.T) {
	o := namespace.NewOverlay(t)
	o.Mount(t, "lowerdir="+o.Lower+":"+o.Upper, "upperdir=")
	if err := os.Mkdir(filepath.Join(o.Merged, "d"), 0o755); !errors.Is(err, unix.EROFS) {
		t.Errorf("mkdir without an upper layer: %v, want EROFS", err)
	}
}

// A tool that a script runs sees the mounts of the test that runs the script.
func TestToolSharesMounts(t *testing.T) {
	o := namespace.MountOverlay(t)
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(e *testscript.Env) error { e.Setenv("MERGED", o.Merged); return nil },
	})
}
