// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// goBuild runs the go command for a static program and returns the path of what
// it writes, under build/vm/bin. The go command's cache makes repetition cheap;
// the name tells programs apart. OVL_VM_GOARCH=386 makes 32-bit programs, which
// the guests' kernels run as well; otherwise they are what OVL_VM_ARCH takes.
func goBuild(ctx context.Context, name string, args ...string) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	arch := os.Getenv("OVL_VM_GOARCH")
	if arch == "" {
		machine, err := currentMachine()
		if err != nil {
			return "", err
		}
		arch = machine.goarch
	}
	dir := filepath.Join(root, "build/vm/bin", arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a directory for guest programs: %w", err)
	}
	// Test processes build at the same time: each renames its own into place.
	tmp, err := os.CreateTemp(dir, name+"-*.tmp")
	if err != nil {
		return "", fmt.Errorf("make a file for %s: %w", name, err)
	}
	defer os.Remove(tmp.Name())
	if err := tmp.Close(); err != nil {
		return "", err
	}
	verb := args[0]
	args = append([]string{verb, "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", tmp.Name()}, args[1:]...)
	if verb == "test" {
		args = append([]string{verb, "-c"}, args[1:]...)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOARM=7")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	if info, err := os.Stat(tmp.Name()); err != nil || info.Size() == 0 {
		return "", fmt.Errorf("go %s: built nothing; has %s any tests?", strings.Join(args, " "), args[len(args)-1])
	}
	path := filepath.Join(dir, name)
	if err := os.Rename(tmp.Name(), path); err != nil {
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	return path, nil
}

// BuildProgram builds a command of this repository, such as
// ./cmd/ovl-restore, for the guest.
func BuildProgram(ctx context.Context, pkg string) (string, error) {
	return goBuild(ctx, filepath.Base(pkg), "build", pkg)
}

var (
	guestMutex sync.Mutex
	guestPath  string
)

// guestProgram builds test/vm/guest, once in this process.
func guestProgram(ctx context.Context) (string, error) {
	guestMutex.Lock()
	defer guestMutex.Unlock()
	if guestPath != "" {
		return guestPath, nil
	}
	var err error
	guestPath, err = goBuild(ctx, "guest", "build", "./test/vm/guest")
	return guestPath, err
}

// ToolFiles are the tool under test, built for the guest's /usr/bin.
func ToolFiles(ctx context.Context) ([]File, error) {
	tool, err := BuildProgram(ctx, "./cmd/ovl-restore")
	if err != nil {
		return nil, err
	}
	return []File{{Guest: "/usr/bin/ovl-restore", Host: tool, Mode: 0o755}}, nil
}
