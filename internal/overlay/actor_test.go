// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// actorRole is set in the environment of a test binary that runs as another
// process of a test, and says what it does.
const actorRole = "OVL_TEST_ACTOR"

// act takes hold of something, says so, and keeps it until its stdin ends.
func act(role string, args []string) error {
	switch role {
	case "open":
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
	case "map":
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		data, err := unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ, unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		f.Close() // only the mapping holds it
		defer func() { _ = unix.Munmap(data) }()
	case "chdir":
		if err := os.Chdir(args[0]); err != nil {
			return err
		}
	default:
		return fmt.Errorf("no such role: %s", role)
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// actor is another process that holds something.
type actor struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
}

// startActor returns when the process has what it is to hold. It ends with the
// test, or by stop.
func startActor(t *testing.T, role string, args ...string) *actor {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), actorRole+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, cmd: cmd, stdin: stdin}
	t.Cleanup(a.stop)
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("the actor %s %q did not get ready: %q, %v", role, args, line, err)
	}
	return a
}

func (a *actor) pid() int { return a.cmd.Process.Pid }

func (a *actor) stop() {
	if a.cmd == nil {
		return
	}
	a.stdin.Close()
	if err := a.cmd.Wait(); err != nil {
		a.t.Errorf("actor: %v", err)
	}
	a.cmd = nil
}
