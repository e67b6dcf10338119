// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMender takes a device through an update that is rolled back, and one that is
// committed. State scripts are run as Mender does: the program itself, without
// arguments; 0 is success, 21 asks for another try, anything else fails the
// update. A state is entered again after a power cut.
func TestMender(t *testing.T) {
	d := newDevice(t)
	installed, committed := d.hook("mender/ArtifactInstall_Leave_50_ovl-restore"), d.hook("mender/ArtifactCommit_Leave_50_ovl-restore")
	copied := filepath.Join(d.Merged, "etc/copied.conf")
	d.image(t, "1")
	run(t, "ovl-restore", "reconcile", d.Merged)
	if err := os.Chmod(copied, 0o644); err != nil { // the kernel copies it up
		t.Fatal(err)
	}
	for range 2 {
		run(t, installed)
		d.wantBaseline(t)
	}

	// ArtifactReboot, and the new image does not prove good: ArtifactRollback. The
	// next boot is that of the old image.
	run(t, installed)
	d.image(t, "2")
	run(t, "ovl-restore", "reconcile", d.Merged)
	d.wantRead(t, copied, "of image 2\n")
	d.wantConfirmed(t, false)
	d.image(t, "1")
	run(t, "ovl-restore", "reconcile", d.Merged)
	if !exists(filepath.Join(d.Upper, "etc/copied.conf")) {
		t.Error("the rollback did not put the user's copy back")
	}

	// Again, and it proves good: ArtifactCommit.
	run(t, installed)
	d.image(t, "2")
	run(t, "ovl-restore", "reconcile", d.Merged)
	d.wantConfirmed(t, false)
	for range 2 {
		run(t, committed)
		d.wantConfirmed(t, true)
	}

	// An image without the tool.
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	run(t, installed)
	run(t, committed)
}

// image boots another version of the image.
func (d *device) image(t *testing.T, version string) {
	t.Helper()
	write(t, filepath.Join(d.Lower, "etc/os-release"), "IMAGE_ID=test\nIMAGE_VERSION="+version+"\n")
	write(t, filepath.Join(d.Lower, "etc/copied.conf"), "of image "+version+"\n")
	d.reboot(t)
}

// wantConfirmed requires the update to be confirmed, or not to be.
func (d *device) wantConfirmed(t *testing.T, want bool) {
	t.Helper()
	out, err := exec.Command("ovl-restore", "status", "--json", d.Merged).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Contains(string(out), `"confirmed":true`); got != want {
		t.Errorf("confirmed: %v, want %v\n%s", got, want, out)
	}
}
