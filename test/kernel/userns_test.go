// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// child, in the environment, makes the test binary the owner of a user name
// space that mounts an overlay in the directory it names.
const child = "OVL_KERNEL_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(child); dir != "" {
		if err := ownOverlay(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if how := os.Getenv(auditChild); how != "" {
		if err := restoreChild(how); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	namespace.Main(m)
}

// An ordinary user's own overlay, in a user name space: its owner may restore,
// another user of it needs permission, and the machine's root, who does not
// exist in it, may not create names in it.
func TestUserNamespace(t *testing.T) {
	dir := namespace.Disk(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "own")
	for _, path := range []string{own, own + "/lower", own + "/upper", own + "/work", own + "/merged"} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"f", "g", "h"} {
		if err := os.WriteFile(filepath.Join(own, "lower", name), []byte("lower "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.Walk(own, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Chown(path, alice, alice))
	})
	if err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), child+"="+own)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: alice, Size: 1}, {ContainerID: 1, HostID: bob, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: alice, Size: 1}, {ContainerID: 1, HostID: bob, Size: 1}},
		// The machine's root is nobody in there.
		Credential:                 &syscall.Credential{},
		GidMappingsEnableSetgroups: true,
	}
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
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		rest, _ := io.ReadAll(out)
		t.Fatalf("the child says %q%s, %v", line, rest, err)
	}
	if os.Getenv("OVL_VM") != "stock" {
		merged := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root" + own + "/merged"
		root, err := os.Open(merged)
		if err != nil {
			t.Fatal(err)
		}
		want(t, ioctl.NewMount(root).RestoreLower(merged+"/h", 0), unix.EOVERFLOW)
		root.Close()
	}
	stdin.Close()
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("in the user name space: %v: %s", err, rest)
	}
}

func ownOverlay(dir string) error {
	merged := filepath.Join(dir, "merged")
	options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work,userxattr", dir, dir, dir)
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	f, err := os.Open(merged)
	if err != nil {
		return err
	}
	m := ioctl.NewMount(f)
	for _, name := range []string{"f", "g", "h"} {
		if err := os.Remove(filepath.Join(merged, name)); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	_, _ = io.ReadAll(os.Stdin)
	if os.Getenv("OVL_VM") == "stock" {
		return expect("restore", m.RestoreLower(merged+"/f", 0), unix.ENOTTY)
	}
	t := &thread{}
	asUser(t, 1, 1, func() error {
		return expect("restore as another user", m.RestoreLower(merged+"/f", 0), unix.EACCES)
	})
	if t.err != nil {
		return t.err
	}
	if err := expect("restore as the owner", m.RestoreLower(merged+"/f", 0), 0); err != nil {
		return err
	}
	b, err := os.ReadFile(merged + "/f")
	if err != nil || string(b) != "lower f" {
		return fmt.Errorf("f holds %q, %w", b, err)
	}
	if err := os.Chmod(merged, 0o777); err != nil {
		return err
	}
	asUser(t, 1, 1, func() error {
		return expect("restore as a user with permission", m.RestoreLower(merged+"/g", 0), 0)
	})
	return t.err
}

// thread takes what a thread has to say where there is no test.
type thread struct {
	testing.TB
	err error
}

func (t *thread) Helper()           {}
func (t *thread) Error(args ...any) { t.err = errors.New(fmt.Sprint(args...)) }
