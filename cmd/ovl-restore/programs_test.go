// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/faultpoint"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// The programs here run another one, which their last arguments name, and exit
// as it does.

// asNobody runs a program as somebody with no rights over the overlays here. A
// user name space has one user only; there, a name space below it does as well:
// the user owns the files, and may not administer the mounts.
func asNobody() {
	cmd := command(os.Args[1:])
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if !namespace.Privileged() {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 65534, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 65534, HostID: 0, Size: 1}},
		}
	}
	exitAs(cmd.Run())
}

// onTerminal runs a program whose standard error is a terminal, and prints what
// the terminal received on its own.
func onTerminal() {
	control, terminal := openTerminal()
	cmd := command(os.Args[1:])
	cmd.Stderr = terminal
	must(cmd.Start())
	must(terminal.Close())
	// The terminal ends with EIO when the program has closed it.
	if _, err := io.Copy(os.Stderr, control); err != nil && !errors.Is(err, unix.EIO) {
		must(err)
	}
	exitAs(cmd.Wait())
}

// slowlyOnTerminal does the same, and lets more than a second pass at the
// program's n-th look at a directory; n is the first argument.
func slowlyOnTerminal() {
	n, err := strconv.Atoi(os.Args[1])
	must(err)
	control, terminal := openTerminal()
	var stop faultpoint.Stop
	ended := make(chan error, 1)
	go func() {
		var err error
		stop, err = faultpoint.Pause(unix.SYS_GETDENTS64, progressAfter+progressEvery).Run(faultpoint.Program{
			Args: os.Args[2:], Stdout: os.Stdout, Stderr: terminal,
		}, n)
		ended <- errors.Join(err, terminal.Close())
	}()
	if _, err := io.Copy(os.Stderr, control); err != nil && !errors.Is(err, unix.EIO) {
		must(err)
	}
	must(<-ended)
	if stop.N == 0 {
		must(fmt.Errorf("slowly-on-terminal: the program ended before: %d", stop.Exit))
	}
	os.Exit(stop.Exit)
}

func openTerminal() (control, terminal *os.File) {
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(err)
	must(unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	must(err)
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	return control, terminal
}

// onJournal runs a program as systemd does whose standard error goes to the
// journal: JOURNAL_STREAM names the stream. The first argument is the file that
// stands for it.
func onJournal() {
	journal, err := os.OpenFile(os.Args[1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	must(err)
	var st unix.Stat_t
	must(unix.Fstat(int(journal.Fd()), &st))
	cmd := command(os.Args[2:])
	cmd.Stderr = journal
	cmd.Env = append(os.Environ(), fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino))
	exitAs(cmd.Run())
}

// twice runs a program in two processes at once. Each may have failed at what the
// other was faster with.
func twice() {
	first, second := command(os.Args[1:]), command(os.Args[1:])
	must(first.Start())
	must(second.Start())
	for _, cmd := range []*exec.Cmd{first, second} {
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitFailed) {
			must(err)
		}
	}
}

// onFull runs a program whose standard output cannot be written.
func onFull() {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(err)
	cmd := command(os.Args[1:])
	cmd.Stdout = full
	exitAs(cmd.Run())
}

// interruptAt runs a program and sends it SIGINT at its n-th system call of a
// kind, which the first arguments say: "changing" or "reading". It fails if the
// program ends before.
func interruptAt() {
	call := uint64(0)
	if os.Args[2] == "reading" {
		call = unix.SYS_GETDENTS64
	}
	n, err := strconv.Atoi(os.Args[1])
	must(err)
	stop, err := faultpoint.Interrupt(call).Run(faultpoint.Program{
		Args: os.Args[3:], Stdout: os.Stdout, Stderr: os.Stderr,
	}, n)
	must(err)
	if stop.N == 0 {
		must(fmt.Errorf("interrupt-at: the program ended before it could be interrupted: %d", stop.Exit))
	}
	os.Exit(stop.Exit)
}

func command(args []string) *exec.Cmd {
	path, err := exec.LookPath(args[0])
	must(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func exitAs(err error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit) && exit.Exited():
		os.Exit(exit.ExitCode())
	}
	must(err)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
}
