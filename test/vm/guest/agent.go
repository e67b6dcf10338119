// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// agent says hello and does what the harness asks for until it asks for the
// end.
func agent() error {
	config, err := readConfig()
	if err != nil {
		return err
	}
	hello := wire.Hello{}
	if hello.Nonce, err = nonce(); err != nil {
		return err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return fmt.Errorf("read the kernel's release: %w", err)
	}
	hello.Release = strings.TrimSpace(string(release))
	p, err := openPort()
	if err != nil {
		return err
	}
	p.send(wire.Message{Hello: &hello})

	running := newCommands(p, config.Env)
	for {
		r, err := p.receive()
		if err != nil {
			return err
		}
		switch {
		case r.Shutdown:
			p.send(wire.Message{Bye: true})
			if err := p.drain(); err != nil {
				return err
			}
			return powerOff()
		case r.Command != nil:
			running.start(r.ID, r.Command)
		case r.Signal != 0:
			running.signal(r.ID, r.Signal)
		}
	}
}
