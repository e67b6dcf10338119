// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// superviseAgent starts the agent and, as process 1 has to, reaps whatever
// ends. When the agent ends, so does the guest.
func superviseAgent() error {
	cmd := exec.Command(wire.ProgramPath, "agent")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for processes: %w", err)
		case pid == cmd.Process.Pid:
			return powerOff()
		}
	}
}

// powerOff powers the guest off, by systemd where that runs.
func powerOff() error {
	if _, err := os.Stat("/run/systemd/system"); err == nil && os.Getpid() != 1 {
		out, err := exec.Command("systemctl", "--no-block", "poweroff").CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl poweroff: %w: %s", err, out)
		}
		return nil
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		return fmt.Errorf("power off: %w", err)
	}
	return nil
}
