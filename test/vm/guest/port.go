// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// port is the serial line to the harness; commands that run at the same time
// share it.
type port struct {
	file *os.File
	in   *json.Decoder
	mu   sync.Mutex
}

func openPort() (*port, error) {
	const path = "/dev/ttyS1"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// Raw: no echo, no line editing, no translation of newlines.
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200}
	raw.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set %s to raw mode: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	return &port{file: f, in: json.NewDecoder(f)}, nil
}

func (p *port) receive() (wire.Request, error) {
	var r wire.Request
	if err := p.in.Decode(&r); err != nil {
		return r, fmt.Errorf("receive a request: %w", err)
	}
	return r, nil
}

// send has nobody to tell of a failure: the harness notices by what it misses.
func (p *port) send(m wire.Message) {
	b, err := json.Marshal(m)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.file.Write(append(b, '\n'))
}

// drain waits until everything that was sent has left the port.
func (p *port) drain() error {
	// tcdrain(3) is TCSBRK with a non-zero argument.
	if err := unix.IoctlSetInt(int(p.file.Fd()), unix.TCSBRK, 1); err != nil {
		return fmt.Errorf("drain the port: %w", err)
	}
	return nil
}
