// SPDX-License-Identifier: Apache-2.0

// Package vm boots Linux kernels with this repository's overlay module, or the
// distribution's own, in QEMU, and runs programs and Go tests in them.
//
//	k, err := vm.Prepare(ctx, "6.1", vm.Patched)
//	guest, err := vm.Boot(ctx, vm.Config{Kernel: k})
//	defer guest.Kill()
//	result, err := guest.Run(ctx, vm.Command{Args: []string{"uname", "-r"}})
//	err = guest.Shutdown(ctx)
//
// QEMU's exit status says nothing about a guest. What counts is what the guest
// says over a serial port: a guest that dies, hangs or ends without the words
// expected of it is an error of the call that waited for them, and what its
// kernel complained of is an error of Shutdown.
package vm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Errors of a guest; they are wrapped with what it was doing.
var (
	// ErrDied means that the guest ended, by a panic for example, in the middle
	// of something.
	ErrDied = errors.New("the guest died")
	// ErrHung means that the guest did not answer in time.
	ErrHung = errors.New("the guest hung")

	// errEmulation means that QEMU is to blame.
	errEmulation = errors.New("a breakpoint was left in the kernel's code")
)

// VM is a running guest. Its methods may be called at the same time.
type VM struct {
	config  Config
	nonce   string
	dir     string
	frozen  string // the directory of the guest that this one is thawed from
	qemu    *qemu
	console *console
	agent   *agentConn
	monitor *monitor

	closeOnce sync.Once
	closeErr  error
}

// bootTries is how often a guest is started that emulation has broken.
const bootTries = 3

// Boot starts a guest and waits until it is ready. The guest ends with the
// context, with the process, or by Kill or Shutdown.
func Boot(ctx context.Context, config Config) (*VM, error) {
	for try := 1; ; try++ {
		v, err := bootOnce(ctx, config)
		if err == nil || try == bootTries || !errors.Is(err, errEmulation) {
			return v, err
		}
	}
}

func bootOnce(ctx context.Context, config Config) (*VM, error) {
	v, err := newVM(config)
	if err != nil {
		return nil, err
	}
	if err := v.boot(ctx); err != nil {
		if emulationBroke(v.Console()) {
			err = fmt.Errorf("%w: %w", errEmulation, err)
		}
		return nil, errors.Join(fmt.Errorf("boot Linux %s (%s): %w", config.Kernel.Release, config.Kernel.Variant, err), v.Kill())
	}
	return v, nil
}

func newVM(config Config) (*VM, error) {
	// Short: the path of a socket has room for 107 bytes.
	dir, err := os.MkdirTemp("", "ovl-vm-")
	if err != nil {
		return nil, fmt.Errorf("make the guest's directory: %w", err)
	}
	return &VM{config: config, nonce: rand.Text(), dir: dir}, nil
}

func (v *VM) boot(ctx context.Context) error {
	if err := v.config.writeInitramfs(ctx, v.path("initramfs")); err != nil {
		return err
	}
	if !v.config.NoScratch {
		if err := MakeExt4(ctx, v.path("scratch"), 1<<30); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, v.config.bootLimit(), ErrHung)
	defer cancel()

	if err := v.start(ctx); err != nil {
		return err
	}
	return v.await(ctx)
}

// await waits for the guest's hello.
func (v *VM) await(ctx context.Context) error {
	select {
	case <-v.agent.ready:
	case <-v.agent.done:
		return v.explain(v.agent.err)
	case <-ctx.Done():
		return v.explain(context.Cause(ctx))
	}
	if got := v.agent.release(); got != v.config.Kernel.Release {
		return fmt.Errorf("the guest runs Linux %s", got)
	}
	return nil
}

// start starts QEMU and takes up the lines to it.
func (v *VM) start(ctx context.Context) (err error) {
	// QEMU connects to us, so there is no moment to wait for.
	names := []string{"console", "agent", "monitor"}
	listeners := make([]net.Listener, 0, len(names))
	defer func() {
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
	}()
	for _, name := range names {
		l, err := net.Listen("unix", v.path(name))
		if err != nil {
			return fmt.Errorf("listen for QEMU: %w", err)
		}
		listeners = append(listeners, l)
	}
	if v.qemu, err = startQEMU(v.config.Kernel.machine.qemu, v.arguments()); err != nil {
		return err
	}
	conns := make([]net.Conn, len(names))
	for i, l := range listeners {
		if conns[i], err = v.qemu.accept(ctx, l); err != nil {
			return err
		}
	}
	v.console = readConsole(conns[0])
	v.agent = readAgent(conns[1], v.nonce)
	v.monitor = newMonitor(conns[2])
	return nil
}

func (v *VM) path(name string) string { return filepath.Join(v.dir, name) }

// explain adds to an error what the kernel complained of, or else the end of
// the console.
func (v *VM) explain(err error) error {
	if errors.Is(err, ErrDied) {
		// The last words may still be on their way.
		v.console.wait()
	}
	if complaints := v.Complaints(); complaints != nil {
		return fmt.Errorf("%w; %w", err, complaints)
	}
	return fmt.Errorf("%w; the console's last lines:\n%s", err, v.console.tail(40))
}

// Console returns what the guest has written on its console so far.
func (v *VM) Console() string {
	if v.console == nil {
		return ""
	}
	return v.console.String()
}

// Shutdown asks the guest to power off, waits for it, and fails if it does not
// take its leave, or if its kernel complained during its life.
func (v *VM) Shutdown(ctx context.Context) error {
	err := v.agent.shutdown(ctx)
	if err != nil {
		err = v.explain(fmt.Errorf("shut down: %w", err))
	} else {
		// It has said bye: how it powers off is its own matter. A system with
		// services stops them first.
		v.qemu.wait(60 * time.Second)
		v.console.wait()
		err = v.Complaints()
	}
	return errors.Join(err, v.Kill())
}

// Gone waits until the guest has ended by itself, as it does when it reboots, and
// fails if its kernel complained during its life.
func (v *VM) Gone(ctx context.Context) error {
	var err error
	select {
	case <-v.qemu.done:
		v.console.wait()
		err = v.Complaints()
	case <-ctx.Done():
		err = v.explain(fmt.Errorf("wait for its end: %w", context.Cause(ctx)))
	}
	return errors.Join(err, v.Kill())
}

// Complaints returns an error that holds what the kernel complained of so far:
// warnings, bugs, lock-order reports, hung tasks.
func (v *VM) Complaints() error { return complaints(v.console.String()) }

// Kill cuts the guest's power: it ends at once, and whatever it had not
// written to its disks is lost. To kill it twice does no harm.
func (v *VM) Kill() error {
	v.closeOnce.Do(func() {
		v.end()
		if err := os.RemoveAll(v.dir); err != nil {
			v.closeErr = fmt.Errorf("remove the guest's directory: %w", err)
		}
	})
	return v.closeErr
}

// end ends QEMU, and the lines to it.
func (v *VM) end() {
	if v.qemu != nil {
		v.qemu.kill()
	}
	if v.agent != nil {
		v.agent.close()
		v.monitor.close()
		v.console.wait()
	}
}

// Monitor gives QEMU's monitor a command, such as "sendkey power 7000", and
// returns its answer.
func (v *VM) Monitor(ctx context.Context, command string) (string, error) {
	out, err := v.monitor.command(ctx, command)
	if err != nil {
		return "", fmt.Errorf("monitor command %q: %w", command, err)
	}
	return out, nil
}
