// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// commands are the programs that run at the moment, by request.
type commands struct {
	port *port
	env  []string

	mu        sync.Mutex
	processes map[int]*os.Process
}

func newCommands(p *port, env []string) *commands {
	return &commands{port: p, env: env, processes: make(map[int]*os.Process)}
}

// start runs a command in the background and sends its output and its end.
func (c *commands) start(id int, command *wire.Command) {
	cmd := exec.Command(lookPath(command.Args[0], c.env), command.Args[1:]...)
	cmd.Args[0] = command.Args[0]
	cmd.Dir = command.Dir
	cmd.Env = append(append([]string{}, c.env...), command.Env...)
	cmd.Stdin = bytes.NewReader(command.Stdin)
	cmd.Stdout = output(func(b []byte) { c.port.send(wire.Message{ID: id, Stdout: b}) })
	cmd.Stderr = output(func(b []byte) { c.port.send(wire.Message{ID: id, Stderr: b}) })
	// A group of its own, so that a signal reaches what it starts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What the command leaves running may keep its output open.
	cmd.WaitDelay = time.Second

	if err := cmd.Start(); err != nil {
		c.port.send(wire.Message{ID: id, Exit: &wire.Exit{Error: err.Error()}})
		return
	}
	c.mu.Lock()
	c.processes[id] = cmd.Process
	c.mu.Unlock()
	go func() {
		err := cmd.Wait()
		c.mu.Lock()
		delete(c.processes, id)
		c.mu.Unlock()
		c.port.send(wire.Message{ID: id, Exit: exit(cmd, err)})
	}()
}

func (c *commands) signal(id, signal int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.processes[id]; p != nil {
		_ = syscall.Kill(-p.Pid, syscall.Signal(signal)) // it may have just ended
	}
}

func exit(cmd *exec.Cmd, err error) *wire.Exit {
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) && !errors.Is(err, exec.ErrWaitDelay) {
		return &wire.Exit{Error: err.Error()}
	}
	e := &wire.Exit{Code: cmd.ProcessState.ExitCode()}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal().String()
	}
	return e
}

// lookPath finds a program by the commands' PATH, not by the agent's.
func lookPath(name string, env []string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for _, v := range env {
		path, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(path, ":") {
			if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode()&0o111 != 0 {
				return dir + "/" + name
			}
		}
	}
	return name
}

// output sends what a command writes, piece by piece.
type output func([]byte)

func (o output) Write(b []byte) (int, error) {
	o(b)
	return len(b), nil
}
