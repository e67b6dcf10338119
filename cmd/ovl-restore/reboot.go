// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// rebooters are programs that end the system in an orderly way.
var rebooters = [][]string{
	{"/usr/bin/systemctl", "reboot"},
	{"/bin/systemctl", "reboot"},
	{"/sbin/reboot"},
	{"/usr/sbin/reboot"},
	{"/bin/reboot"},
	{"/usr/bin/reboot"},
}

// reboot asks the system to reboot; where it has no program for that, the kernel.
func reboot() error {
	for _, args := range rebooters {
		if _, err := os.Stat("/run/systemd/system"); err != nil && len(args) > 1 {
			continue // not systemd's
		}
		if _, err := os.Stat(args[0]); err == nil {
			return runProgram(args)
		}
	}
	signal.Ignore(unix.SIGTERM)
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}

// runProgram runs a program to its end, with this one's input and output.
func runProgram(args []string) error {
	p, err := os.StartProcess(args[0], args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("%s: %s", args[0], state)
	}
	return err
}
