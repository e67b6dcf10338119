// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process that may not make regular files may not make them visible either,
// and one that may not remove files may not discard them.
func TestLandlock(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "g")
	o.must(os.Symlink("f", o.lower("l")))
	o.start()
	lsm, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		o.must(os.MkdirAll("/sys/kernel/security", 0o755))
		o.must(unix.Mount("securityfs", "/sys/kernel/security", "securityfs", 0, ""))
		lsm, err = os.ReadFile("/sys/kernel/security/lsm")
		o.must(err)
	}
	if !strings.Contains(string(lsm), "landlock") {
		if os.Getenv("OVL_VM") == "debug" {
			return // the debug kernel is built without it
		}
		t.Fatalf("security modules: %s", lsm)
	}
	o.remove("f")
	o.remove("l")
	o.write(o.merged("g"), "changed")
	restricted := func(rights uint64, f func() error) {
		t.Helper()
		onThread(t, func() error {
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return err
			}
			// struct landlock_ruleset_attr, of which Linux 6.1 knows this member.
			fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rights)), 8, 0)
			if errno != 0 {
				return os.NewSyscallError("landlock_create_ruleset", errno)
			}
			if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
				return os.NewSyscallError("landlock_restrict_self", errno)
			}
			return f()
		})
	}
	restricted(unix.LANDLOCK_ACCESS_FS_MAKE_REG, func() error {
		return errors.Join(
			expect("restore a file", o.tryRestore("f"), unix.EACCES),
			expect("is a file restorable", o.mount.IsRestorable(o.merged("f")), unix.EACCES),
			expect("discard a file", o.tryDiscard("g"), unix.EACCES),
			expect("restore a symbolic link", o.tryRestore("l"), 0))
	})
	restricted(unix.LANDLOCK_ACCESS_FS_REMOVE_FILE, func() error {
		return errors.Join(
			expect("discard a file", o.tryDiscard("g"), unix.EACCES),
			expect("restore a file", o.tryRestore("f"), 0))
	})
	o.wantContent("g", "changed")
	o.wantLower("f")
}
