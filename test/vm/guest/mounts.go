// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// basics are the mounts that a Linux program expects. /tmp cannot stay on the
// initramfs: an upper layer there has no extended attributes.
var basics = []struct{ fstype, target, data string }{
	{"proc", "/proc", ""},
	{"sysfs", "/sys", ""},
	{"devtmpfs", "/dev", ""},
	{"devpts", "/dev/pts", ""},
	{"tmpfs", "/dev/shm", ""},
	{"tmpfs", "/tmp", ""},
	{"tmpfs", "/run", "mode=0755"},
	{"debugfs", "/sys/kernel/debug", ""},
}

func mountBasics() error {
	for _, m := range basics {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("make a mount point: %w", err)
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

func mountScratch() error {
	device, err := scratchDevice()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(wire.ScratchDir, 0o755); err != nil {
		return fmt.Errorf("make a mount point: %w", err)
	}
	if err := unix.Mount(device, wire.ScratchDir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", device, wire.ScratchDir, err)
	}
	return nil
}

// scratchDevice finds the scratch disk by its serial number: its letter
// depends on how many other disks the test has.
func scratchDevice() (string, error) {
	// The disks appear a moment after their driver was loaded.
	for range 100 {
		serials, err := filepath.Glob("/sys/block/vd*/serial")
		if err != nil {
			return "", err
		}
		for _, path := range serials {
			b, err := os.ReadFile(path)
			if err == nil && strings.TrimSpace(string(b)) == wire.ScratchSerial {
				return "/dev/" + filepath.Base(filepath.Dir(path)), nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "", fmt.Errorf("no disk with the serial number %q", wire.ScratchSerial)
}
