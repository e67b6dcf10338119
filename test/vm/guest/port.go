// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// openPort opens the second serial port, or virtio's on a machine without one.
func openPort() (*port, error) {
	if path, found := virtioPort(); found {
		// Not by os.OpenFile, which would make it non-blocking: see drain.
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		f := os.NewFile(uintptr(fd), path)
		return &port{file: f, in: json.NewDecoder(f)}, nil
	}
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

// virtioPort finds virtio's serial port with the agent's name.
func virtioPort() (path string, found bool) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", false
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(b)) == "agent" {
			return "/dev/" + filepath.Base(filepath.Dir(name)), true
		}
	}
	return "", false
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
	// tcdrain(3) is TCSBRK with a non-zero argument. A write to virtio's port
	// returns when the other side has it all.
	err := unix.IoctlSetInt(int(p.file.Fd()), unix.TCSBRK, 1)
	if err != nil && !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("drain the port: %w", err)
	}
	return nil
}
