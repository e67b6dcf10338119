// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package smoke

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

func TestMain(m *testing.M) { namespace.Main(m) }

// A file deleted in the overlay leaves a character device 0:0 in the upper
// layer, on a tmpfs and on the ext4 disk.
func TestWhiteout(t *testing.T) {
	for _, fs := range []struct{ name, dir string }{
		{"tmpfs", t.TempDir()},
		{"ext4", namespace.Disk(t)},
	} {
		t.Run(fs.name, func(t *testing.T) {
			o := namespace.NewOverlayIn(t, fs.dir)
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
				t.Errorf("upper entry: mode %o, device %d, want a character device 0:0", st.Mode, st.Rdev)
			}
		})
	}
}

// The overlay module is the one that the harness says it is: only the patched
// one knows the ioctls.
func TestModuleIsTheVariant(t *testing.T) {
	const isRestorable = 0x40104f02
	o := namespace.MountOverlay(t)
	fd, err := unix.Open(o.Merged, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// A null argument: a kernel that knows the number finds fault with it.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), isRestorable, 0)
	known := !errors.Is(errno, unix.ENOTTY)
	if variant := os.Getenv("OVL_VM"); known != (variant == "patched") {
		t.Errorf("OVL_VM=%s, and the ioctl answers: %v", variant, errno)
	}
}

// Guests are root in the initial name space, where trusted.* attributes work.
func TestPrivileged(t *testing.T) {
	if !namespace.Privileged() {
		t.Error("not privileged")
	}
}
