// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package reset

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// What was removed cannot be read from the bare disk, where the disk can be told or
// was overwritten; else the clean-up says that it can.
func TestCleanupOnTheDisk(t *testing.T) {
	if !namespace.Privileged() {
		t.Skip("the kernel allows this only with trusted.* xattrs: runs as root") // and disks
	}
	for _, test := range []struct {
		name          string
		discard, wipe bool
		readable      bool
	}{
		{name: "discard", discard: true},
		{name: "wipe", wipe: true},
		{name: "neither", readable: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			image, dir := newDisk(t, test.discard)
			d := newDeviceIn(t, dir)
			secret := "secret of " + t.Name()
			d.write(d.Upper, "home/secret", strings.Repeat(secret+"\n", 1000))
			inImage := func() bool {
				d.check(syncAll(dir))
				data, err := os.ReadFile(image)
				d.check(err)
				return bytes.Contains(data, []byte(secret))
			}
			if !inImage() {
				t.Fatal("the secret is not on the disk: this tests nothing")
			}
			d.request(&Order{Wipe: test.wipe})
			d.perform()
			var notes []string
			cleaned, err := Cleanup(t.Context(), []*Place{d.place()}, CleanupOptions{Note: func(note string) { notes = append(notes, note) }})
			d.check(err)
			if inImage() != test.readable {
				t.Errorf("that the secret is still on the disk is %t", !test.readable)
			}
			if (cleaned.Discarded > 0) != test.discard || strings.Contains(fmt.Sprint(notes), "may still be read") == test.discard {
				t.Errorf("%+v, %q", cleaned, notes)
			}
		})
	}
}

// newDisk mounts an ext4 disk, which knows discard, or does not: in a ramfs no hole
// can be punched into a file.
func newDisk(t *testing.T, discard bool) (image, dir string) {
	t.Helper()
	in, dir := t.TempDir(), t.TempDir()
	if !discard {
		namespace.Mount(t, "ramfs", in, "ramfs", 0, "")
	}
	image = filepath.Join(in, "ext4")
	for _, args := range [][]string{
		{"mke2fs", "-q", "-t", "ext4", image, "32M"},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	namespace.Mount(t, "", dir, "", unix.MS_PRIVATE, "") // to be undone with the test
	return image, dir
}

func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Syncfs(int(f.Fd()))
}
