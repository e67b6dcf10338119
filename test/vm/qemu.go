// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm/wire"
)

// qemu is the process.
type qemu struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	done   chan struct{}
}

// kernelParameters: a panic reboots at once, and a reboot ends QEMU. The
// kernel's own watchdogs wait longer than usual, since emulation on a busy
// machine can stand still for a while through no fault of the guest.
const kernelParameters = "panic=-1 oops=panic " +
	"rcupdate.rcu_cpu_stall_timeout=120 sysctl.kernel.watchdog_thresh=60"

// arguments is QEMU's command line. No KVM: it is not there on every machine
// that runs these tests, and emulation boots in seconds.
func (v *VM) arguments() []string {
	c := &v.config
	m := c.Kernel.machine
	initramfs := v.path("initramfs")
	if v.frozen != "" {
		initramfs = filepath.Join(v.frozen, "initramfs")
	}
	args := append([]string{}, m.args...)
	args = append(args,
		"-accel", "tcg,thread=multi",
		"-smp", strconv.Itoa(c.cpus()),
		"-m", strconv.Itoa(c.memory()),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot",
		"-kernel", c.Kernel.Image,
		"-initrd", initramfs,
		"-append", strings.TrimSpace("console="+m.console+" "+kernelParameters+" "+wire.Nonce+"="+v.nonce+" "+c.Append),
		"-chardev", "socket,id=console,path="+v.path("console"),
		"-serial", "chardev:console",
		"-chardev", "socket,id=agent,path="+v.path("agent"),
		"-chardev", "socket,id=monitor,path="+v.path("monitor"),
		"-mon", "chardev=monitor,mode=control",
	)
	args = append(args, m.agentPort()...)
	if v.frozen != "" {
		args = append(args, "-incoming", "exec:exec cat '"+filepath.Join(v.frozen, "frozen")+"'")
	}
	disks := c.Disks
	if !c.NoScratch {
		disks = append(disks[:len(disks):len(disks)], Disk{Path: v.path("scratch"), Serial: wire.ScratchSerial})
	}
	for i, d := range disks {
		id := "disk" + strconv.Itoa(i)
		// What the guest has flushed survives its power cut in the host's memory;
		// the host's own power is not at stake.
		drive := "if=none,format=raw,cache=unsafe,id=" + id + ",file=" + strings.ReplaceAll(d.Path, ",", ",,")
		if d.ReadOnly {
			drive += ",readonly=on"
		}
		device := "virtio-blk" + m.bus + ",drive=" + id
		if d.Serial != "" {
			device += ",serial=" + d.Serial
		}
		args = append(args, "-drive", drive, "-device", device)
	}
	return args
}

func startQEMU(program string, args []string) (*qemu, error) {
	q := &qemu{cmd: exec.Command(program, args...), done: make(chan struct{})}
	q.cmd.Stderr = &q.stderr
	// A test process that is killed takes its guests along.
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := q.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	go func() {
		_ = q.cmd.Wait() // its exit status says nothing
		close(q.done)
	}()
	return q, nil
}

// accept waits for QEMU to connect.
func (q *qemu) accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	accepted := make(chan result, 1)
	go func() {
		conn, err := l.Accept()
		accepted <- result{conn, err}
	}()
	select {
	case r := <-accepted:
		return r.conn, r.err
	case <-q.done:
		return nil, fmt.Errorf("QEMU ended at once: %s", bytes.TrimSpace(q.stderr.Bytes()))
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for QEMU to connect: %w", context.Cause(ctx))
	}
}

// wait waits for QEMU to end, but not longer than limit.
func (q *qemu) wait(limit time.Duration) {
	select {
	case <-q.done:
	case <-time.After(limit):
	}
}

func (q *qemu) kill() {
	if err := q.cmd.Process.Kill(); errors.Is(err, syscall.ESRCH) {
		return
	}
	<-q.done
}
