// SPDX-License-Identifier: Apache-2.0

package ioctl

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrorNamesErrno(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.EOPNOTSUPP: `OVL_IOC_RESTORE_LOWER "/m/f": EOPNOTSUPP (operation not supported)`,
		unix.EEXIST:     `OVL_IOC_RESTORE_LOWER "/m/f": EEXIST (file exists)`,
	} {
		err := &Error{Op: "OVL_IOC_RESTORE_LOWER", Path: "/m/f", Errno: errno}
		if got := err.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
