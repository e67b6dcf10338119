// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// inside makes this process's new mount name space private and puts a tmpfs
// where tests will make their temporary directories.
func inside(dir string) error {
	// A mount made here must not travel back through a shared mount.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make every mount private: %w", err)
	}
	if err := leaveOverlays(); err != nil {
		return err
	}
	if err := unix.Mount("ovl-test", dir, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	// testscript looks at GOTMPDIR, the testing package at TMPDIR.
	for _, name := range []string{"TMPDIR", "GOTMPDIR"} {
		if err := os.Setenv(name, dir); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	// A test binary that a test runs again on purpose gets a tmpfs of its own.
	return os.Unsetenv(scratch)
}

// leaveOverlays unmounts, in this name space, the overlays that this machine has:
// what the tests run may work on every overlay in sight. The root stays, and where
// the name space is a user's, all of them do: those that a user may not change.
func leaveOverlays() error {
	overlays, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return fmt.Errorf("list this machine's overlays: %w", err)
	}
	for _, o := range slices.Backward(overlays) {
		if o.Mountpoint == "/" {
			continue
		}
		err := unix.Unmount(o.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("leave out this machine's overlay %s: %w", o.Mountpoint, err)
		}
	}
	return nil
}
