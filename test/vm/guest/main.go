// SPDX-License-Identifier: Apache-2.0

// Command guest is the first program of a test guest. As process 1 it sets the
// guest up and starts itself again as the agent, which runs what the harness
// asks for; a system that brings its own init starts "guest agent" as a
// service.
package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

func main() {
	var err error
	switch {
	case os.Getpid() == 1:
		err = setUp()
	case len(os.Args) == 3 && os.Args[1] == "stir":
		err = stir(os.Args[2])
	default:
		err = agent()
	}
	if err != nil {
		// The console is where the harness looks when a guest says nothing. The
		// end of process 1 is a kernel panic, which ends the guest.
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
		os.Exit(1)
	}
}

// setUp is process 1: it returns only on failure.
func setUp() error {
	if err := mountBasics(); err != nil {
		return err
	}
	if err := raiseFileLimit(); err != nil {
		return err
	}
	config, err := readConfig()
	if err != nil {
		return err
	}
	if err := loadModules(config.Modules); err != nil {
		return err
	}
	if err := installBusybox(); err != nil {
		return err
	}
	if config.Scratch {
		if err := mountScratch(); err != nil {
			return err
		}
	}
	return superviseAgent()
}

// raiseFileLimit gives the guest's programs as many descriptors as systemd does:
// the kernel's own limit is 4096, and os.RemoveAll takes one for each level.
func raiseFileLimit() error {
	limit := syscall.Rlimit{Cur: 1 << 19, Max: 1 << 19}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}

// nonce returns the nonce of this boot from the kernel's command line.
func nonce() (string, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", fmt.Errorf("read the kernel's command line: %w", err)
	}
	for _, f := range strings.Fields(string(b)) {
		if value, ok := strings.CutPrefix(f, wire.Nonce+"="); ok {
			return value, nil
		}
	}
	return "", fmt.Errorf("no %s on the kernel's command line", wire.Nonce)
}
