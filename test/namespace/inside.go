// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// inside makes this process's new mount name space private and puts a tmpfs
// where tests will make their temporary directories.
func inside(dir string) error {
	// A mount made here must not travel back through a shared mount.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make every mount private: %w", err)
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
