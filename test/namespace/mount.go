// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount is mount(2), undone when the test ends, or the test fails.
func Mount(t testing.TB, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Fatalf("mount %s on %s (type %s, options %q): %v", source, target, fstype, data, err)
	}
	t.Cleanup(func() {
		// Detached, so that one descriptor left open does not fail the clean-up;
		// EINVAL: the test has unmounted it already.
		err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", target, err)
		}
	})
}
