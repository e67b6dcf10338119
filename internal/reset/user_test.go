// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asUser runs a function without the capability to mount. It has a thread of its
// own, which ends with it.
func asUser(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not fit for others
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&hdr, &data[0])
		if err == nil {
			data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
			err = unix.Capset(&hdr, &data[0])
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
