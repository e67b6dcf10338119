// SPDX-License-Identifier: Apache-2.0

package hooks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// TestSysvinit takes a device through shutdowns and boots, as init's rc calls the
// scripts: first with its image, then with the next one.
func TestSysvinit(t *testing.T) {
	d := newDevice(t)
	script, cleanup := d.hook("sysvinit/ovl-restore"), d.hook("sysvinit/ovl-restore-reset-cleanup")
	conf := filepath.Join(d.Merged, "etc/app.conf")
	// Copied up, and never changed.
	copied := filepath.Join(d.Merged, "etc/copied.conf")
	d.image(t, "1")
	if err := os.Chmod(copied, 0o644); err != nil { // the kernel copies it up
		t.Fatal(err)
	}
	run(t, script, "start")
	run(t, script, "stop")
	d.wantRead(t, copied, "of image 1\n")

	d.image(t, "2")
	for range 2 {
		run(t, script, "start")
		d.wantRead(t, copied, "of image 2\n")
		d.wantRead(t, conf, "mine\n")
	}
	run(t, script, "status")

	// A reset, and the next boot.
	run(t, "ovl-restore", "reset", "request", "--yes", d.Merged)
	d.Unmount(t)
	run(t, "ovl-restore", "reset", "perform", "--lower", d.Lower, "--upper", d.Upper, "--work", d.Work, "--mount", d.Merged)
	d.Mount(t)
	run(t, script, "start")
	d.wantRead(t, conf, "of the image\n")
	run(t, cleanup, "start") // returns when what is in the background has closed its output
	d.wantGone(t, d.Upper+".ovl-reset/old")
	run(t, cleanup, "status")
	run(t, cleanup, "stop")

	for _, s := range []string{script, cleanup} {
		if err := exec.Command(s, "frobnicate").Run(); err == nil {
			t.Errorf("%s frobnicate succeeded", s)
		}
		// The package was removed, and this was left.
		t.Run("removed", func(t *testing.T) {
			t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
			run(t, s, "start")
		})
	}
}

// TestNoOverlay runs what the units and scripts run at each boot on a system that
// has no overlay: nothing to do is no failure.
func TestNoOverlay(t *testing.T) {
	newDevice(t)
	root := t.TempDir()
	for _, dir := range []string{"proc", "bin"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	namespace.Mount(t, "/proc", filepath.Join(root, "proc"), "", unix.MS_BIND|unix.MS_REC, "")
	program, err := exec.LookPath("ovl-restore")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "cp", program, filepath.Join(root, "bin/ovl-restore"))
	for _, args := range []string{"reconcile", "baseline", "reset cleanup"} {
		run(t, "chroot", append([]string{root, "/bin/ovl-restore"}, strings.Fields(args)...)...)
	}
}

// reboot mounts the overlay anew, so that the kernel sees what became of the
// lower.
func (d *device) reboot(t *testing.T) {
	t.Helper()
	d.Unmount(t)
	d.Mount(t)
}

func (d *device) wantRead(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s has %q, %v, want %q", path, got, err, want)
	}
}

func (d *device) wantGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("%s is there", path)
	}
}
