// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"strings"
	"testing"
)

// Lines that a healthy kernel never prints, as real ones printed them.
func TestComplaintsAreFound(t *testing.T) {
	for _, line := range []string{
		"[    3.1] WARNING: CPU: 0 PID: 81 at fs/overlayfs/dir.c:512 ovl_create+0x1/0x2 [overlay]",
		"[    3.1] BUG: kernel NULL pointer dereference, address: 0000000000000008",
		"[    3.1] BUG: KASAN: slab-use-after-free in ovl_inode_upper+0x1/0x2",
		"[    3.1] BUG: sleeping function called from invalid context at mm/slab.h:274",
		"[    3.1] kernel BUG at fs/inode.c:1763!",
		"[    3.1] Oops: 0000 [#1] PREEMPT SMP PTI",
		"[    3.1] general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
		"[    3.1] INFO: task test:93 blocked for more than 120 seconds.",
		"[    3.1] WARNING: possible circular locking dependency detected",
		"[    3.1] WARNING: possible recursive locking detected",
		"[    3.1] WARNING: inconsistent lock state",
		"[    3.1] WARNING: suspicious RCU usage",
		"[    3.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
		"[    3.1] refcount_t: underflow; use-after-free.",
		"[    3.1] list_del corruption. prev->next should be ffff, but was 0000",
		"[    3.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
		"[    3.1] EXT4-fs error (device vda): ext4_lookup:1785: inode #2: comm ls: deleted inode referenced",
		"[    3.1] VFS: Busy inodes after unmount of overlay",
		"[    3.1] UBSAN: array-index-out-of-bounds in fs/overlayfs/util.c:1:2",
	} {
		err := complaints("[    1.0] fine\n" + line + "\n[    3.2] where\n")
		if err == nil || !strings.Contains(err.Error(), line+"\n[    3.2] where") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Lines of an ordinary boot that sound worse than they are.
func TestOrdinaryLinesAreNoComplaints(t *testing.T) {
	for _, line := range []string{
		"[    2.1] overlay: loading out-of-tree module taints kernel.",
		"[    2.1] overlay: module verification failed: signature and/or required key missing - tainting kernel",
		"[    2.1] overlayfs: upperdir is in-use as upperdir/workdir of another mount, accessing files from both mounts will result in undefined behavior.",
		"[    0.9] Spectre V2 : WARNING",
		"[    0.3] rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.",
		"[    1.2] platform eisa.0: EISA: Cannot allocate resource for EISA slot 1",
		"[    0.1] debug: unmapping init [mem 0xffffffff-0xffffffff]",
	} {
		if err := complaints(line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// How the two kernels ended that met a breakpoint of their own, and one for
// which nobody but itself is to blame.
func TestEmulationBroke(t *testing.T) {
	for line, want := range map[string]bool{
		"[    3.320460] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI": true,
		"[    3.320460] int3: 0000 [#1] PREEMPT SMP NOPTI":       true,
		"[    3.1] Oops: invalid opcode: 0000 [#1] PREEMPT SMP":  false,
		"[    3.1] Oops: 0000 [#1] PREEMPT SMP PTI":              false,
		"[    3.1] general protection fault: 0000 [#1] SMP":      false,
	} {
		if got := emulationBroke("[    1.0] fine\n" + line + "\n"); got != want {
			t.Errorf("%s: %t", line, got)
		}
	}
}
