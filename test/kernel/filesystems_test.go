// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// fileSystems are what upper layers are tested on: make test-kernel gives the
// guest disks with more of them than make test does.
func fileSystems() []string {
	return append([]string{"tmpfs", "ext4"}, strings.Fields(os.Getenv("OVL_DISKS"))...)
}

// dirOn returns a new directory on a file system.
func dirOn(t testing.TB, fs string) string {
	t.Helper()
	switch fs {
	case "tmpfs":
		return t.TempDir()
	case "ext4":
		return namespace.Disk(t)
	}
	mounted := t.TempDir()
	namespace.Mount(t, disk(t, fs), mounted, fs, 0, "")
	dir, err := os.MkdirTemp(mounted, "test-") //nolint:usetesting // t.TempDir is on the tmpfs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return dir
}

// disk finds the disk with a serial number.
func disk(t testing.TB, serial string) string {
	t.Helper()
	paths, err := filepath.Glob("/sys/block/vd*/serial")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(b)) == serial {
			return "/dev/" + filepath.Base(filepath.Dir(path))
		}
	}
	t.Fatalf("no disk %s", serial)
	return ""
}

// makeImage makes a read-only image of the lower layer and mounts that in its
// place.
func (o *overlay) makeImage(fs string) {
	o.t.Helper()
	image := filepath.Join(o.t.TempDir(), "image")
	mounted := o.t.TempDir()
	var cmd *exec.Cmd
	switch fs {
	case "squashfs":
		cmd = exec.Command("mksquashfs", o.Lower, image, "-quiet", "-no-progress", "-comp", "gzip", "-processors", "1")
	case "erofs":
		cmd = exec.Command("mkfs.erofs", image, o.Lower)
	default:
		o.t.Fatalf("no image of %s", fs)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		o.t.Fatalf("make an image of %s: %v: %s", fs, err, out)
	}
	if out, err := exec.Command("mount", "-t", fs, "-o", "loop,ro", image, mounted).CombinedOutput(); err != nil {
		o.t.Fatalf("mount an image of %s: %v: %s", fs, err, out)
	}
	o.t.Cleanup(func() {
		if err := unix.Unmount(mounted, unix.MNT_DETACH); err != nil {
			o.t.Error(fmt.Errorf("unmount the image: %w", err))
		}
	})
	o.Lower = mounted
}
