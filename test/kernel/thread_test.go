// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread that ends with it, so that f may change what
// belongs to a thread: its user, its root directory, its restrictions.
func onThread(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread is not used again.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// asUser runs f with the credentials of an ordinary user with one group.
func asUser(t testing.TB, uid, gid int, f func() error) {
	t.Helper()
	onThread(t, func() error {
		groups := []uint32{uint32(gid)}
		if err := setgroups(groups); err != nil {
			return err
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
			return os.NewSyscallError("setresgid", errno)
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			return os.NewSyscallError("setresuid", errno)
		}
		return f()
	})
}

// expect returns an error unless err is errno; 0 is success.
func expect(what string, err error, errno unix.Errno) error {
	if errno == 0 && err == nil || errno != 0 && isErrno(err, errno) {
		return nil
	}
	return fmt.Errorf("%s: want %s, got error %w", what, unix.ErrnoName(errno), err)
}
