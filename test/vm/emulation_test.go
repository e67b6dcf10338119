// SPDX-License-Identifier: Apache-2.0

//go:build vmlong

package vm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ovl-restore/ovl-restore/test/vm"
	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// A guest whose kernel met a breakpoint of its own is started again: the first
// one leaves its word on a disk, the second one finds it.
func TestBootAfterEmulationBroke(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	guest := boot(t, vm.Config{
		Kernel: stockKernel(t), NoScratch: true, Disks: []vm.Disk{{Path: disk}},
		Init: `PATH=/bin
			for a in mount umount modprobe head dd poweroff; do busybox ln -s busybox /bin/$a; done
			mount -t devtmpfs dev /dev
			modprobe virtio_pci
			modprobe virtio_blk
			if [ "$(head -c 1 /dev/vda)" != x ]; then
				echo x | dd of=/dev/vda conv=sync bs=512
				echo '<2>Oops: int3: 0000 [#1] PREEMPT SMP NOPTI' >/dev/kmsg
				poweroff -f
			fi
			umount /dev
			exec ` + wire.ProgramPath + "\n",
	})
	word, err := os.ReadFile(disk)
	if err != nil || word[0] != 'x' {
		t.Errorf("the disk holds %q, %v", word[:1], err)
	}
	if err := guest.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
