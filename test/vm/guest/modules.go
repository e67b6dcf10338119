// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// loadModules loads the modules of these paths in this order. Others wait in
// /lib/modules for the kernel to ask modprobe for them.
func loadModules(paths []string) error {
	for _, path := range paths {
		if err := loadModule(path); err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// installBusybox gives busybox's applets their names.
func installBusybox() error {
	out, err := exec.Command("/bin/busybox", "--install", "-s").CombinedOutput()
	if err != nil {
		return fmt.Errorf("busybox --install: %w: %s", err, out)
	}
	return nil
}
