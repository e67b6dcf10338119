// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// console collects what the guest writes on its first serial port.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
	conn net.Conn
}

func readConsole(conn net.Conn) *console {
	c := &console{done: make(chan struct{}), conn: conn}
	go func() {
		defer close(c.done)
		defer conn.Close()
		_, _ = io.Copy(c, conn) // it ends with QEMU, one way or another
	}()
	return c
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(c.text.String(), "\r\n", "\n")
}

// wait waits for the end of the console, but not for long: what a dead guest has
// written is on its way.
func (c *console) wait() {
	select {
	case <-c.done:
	case <-time.After(time.Second):
	}
}

// tail returns the last n lines.
func (c *console) tail(n int) string {
	lines := strings.Split(strings.TrimRight(c.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
