// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package overlay

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// The usual fate of a data partition that an initramfs mounts for the overlay
// and does not move into the new root: the device is in use, and no mount of
// this name space shows it. Only a guest has a disk to try that with.
func TestUpperOnHiddenDevice(t *testing.T) {
	s := newStage(t)
	s.fillLower("etc/file", "etc/other")
	s.Merged = t.TempDir() // stays, when the disk goes
	s.mount()
	hide(t, os.Getenv("OVL_SCRATCH"))
	if _, err := os.Stat(s.Upper); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the upper is still to be seen: %v", err)
	}

	s.must(os.Remove(s.merged("etc/file")))
	s.write("etc/other", "edited")
	o := s.open()
	results := s.restoreWith(o, RestoreOptions{Method: MethodRemount}, "etc/file")
	wantAll(t, results, StatusDone)
	upper, err := o.ProvenUpper()
	s.must(err)
	if !strings.Contains(upper.How, "private mount") {
		t.Errorf("the upper was reached by %s, want a private mount of its device", upper.How)
	}
	if got, err := os.ReadFile(s.merged("etc/file")); err != nil || string(got) != contentIn(s.Lower, "etc/file") {
		t.Errorf("restored file: %q, %v", got, err)
	}
	if got, err := os.ReadFile(s.merged("etc/other")); err != nil || string(got) != "edited" {
		t.Errorf("the edited file beside it: %q, %v", got, err)
	}
}

// hide detaches the file system at dir from this test's mount name space, as
// switch_root leaves one behind, and brings it back when the test ends.
func hide(t *testing.T, dir string) {
	t.Helper()
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	if err != nil || len(infos) != 1 {
		t.Fatalf("find the mount of %s: %v, %v", dir, infos, err)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Mount(infos[0].Source, dir, infos[0].FSType, 0, ""); err != nil {
			t.Fatalf("mount %s again: %v", dir, err)
		}
	})
}
