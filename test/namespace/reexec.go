// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// reexec runs this binary with the same arguments in new name spaces and
// returns its exit code. Root takes a user name space only when a mount name
// space alone is refused, as in a container without CAP_SYS_ADMIN.
func reexec(dir string) (int, error) {
	if os.Geteuid() == 0 && os.Getenv(Force) != "user" {
		code, err := run(dir, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
		if !errors.Is(err, os.ErrPermission) {
			return code, err
		}
	}
	return run(dir, &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	})
}

func run(dir string, attr *syscall.SysProcAttr) (int, error) {
	// The child dies with the thread that started it; keep that thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr.Pdeathsig = syscall.SIGKILL

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), scratch+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start the tests in a private mount name space: %w", err)
	}

	// go test asks for goroutine stacks with SIGQUIT when its time is up: the
	// ones worth seeing are the child's.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			_ = cmd.Process.Signal(sig) // it may have ended in this moment
		case err := <-done:
			return exitCode(err)
		}
	}
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 1, fmt.Errorf("wait for the tests: %w", err)
	case exit.Exited():
		return exit.ExitCode(), nil
	default:
		return 1, fmt.Errorf("the tests ended by %w", err)
	}
}
