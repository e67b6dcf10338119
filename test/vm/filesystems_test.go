// SPDX-License-Identifier: Apache-2.0

//go:build vmlong

package vm_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// uppers are the file systems for upper layers besides tmpfs and ext4, with
// what makes them.
var uppers = []struct{ fs, pkg string }{
	{"xfs", "xfsprogs"},
	{"btrfs", "btrfs-progs"},
	{"f2fs", "f2fs-tools"},
}

// images are the read-only file systems for lower layers. The guest makes them
// itself, of what each test wants there.
var images = []struct{ fs, program, pkg string }{
	{"squashfs", "mksquashfs", "squashfs-tools"},
	{"erofs", "mkfs.erofs", "erofs-utils"},
}

// addFileSystems gives a guest a disk with each file system that its kernel
// has, and the programs that make images, and tells its tests of them.
func addFileSystems(ctx context.Context, t *testing.T, c *vm.Config) {
	t.Helper()
	root, err := vm.Root(ctx)
	if err != nil {
		t.Fatal(err)
	}
	need := func(program, pkg string) string {
		t.Helper()
		if out, err := exec.CommandContext(ctx, filepath.Join(root, "tools/need.sh"), program+"="+pkg).CombinedOutput(); err != nil {
			t.Fatalf("install %s: %v: %s", pkg, err, out)
		}
		for _, dir := range []string{"/usr/bin", "/usr/sbin", "/sbin"} {
			if path := filepath.Join(dir, program); exec.CommandContext(ctx, "test", "-x", path).Run() == nil {
				return path
			}
		}
		t.Fatalf("no %s after installing %s", program, pkg)
		return ""
	}
	var disks, made []string
	for _, u := range uppers {
		if !c.Kernel.HasModule(u.fs) {
			continue
		}
		mkfs := need("mkfs."+u.fs, u.pkg)
		path := filepath.Join(t.TempDir(), u.fs)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 1<<30); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(ctx, mkfs, "-q", path).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", mkfs, err, out)
		}
		c.Disks = append(c.Disks, vm.Disk{Path: path, Serial: u.fs})
		disks = append(disks, u.fs)
	}
	for _, i := range images {
		// The host's programs are for the host's machine.
		if !c.Kernel.HasModule(i.fs) || os.Getenv("OVL_VM_ARCH") != "" {
			continue
		}
		program := need(i.program, i.pkg)
		c.Files = append(c.Files, vm.File{Guest: "/usr/bin/" + i.program, Host: program, Mode: 0o755})
		c.Files = append(c.Files, libraries(ctx, t, program)...)
		made = append(made, i.fs)
	}
	c.Env = append(c.Env, "OVL_DISKS="+strings.Join(disks, " "), "OVL_IMAGES="+strings.Join(made, " "))
	t.Logf("file systems besides tmpfs and ext4: above %q, below %q", disks, made)
}

var library = regexp.MustCompile(`(?m)^\s*(?:\S+ => )?(/\S+) \(0x`)

// libraries are the shared libraries of a program of the host, and what loads
// them.
func libraries(ctx context.Context, t *testing.T, program string) []vm.File {
	t.Helper()
	out, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		t.Fatal(fmt.Errorf("ldd %s: %w", program, err))
	}
	// The C library loads this one by its name, when a thread ends.
	gcc, err := filepath.Glob("/lib/*/libgcc_s.so.1")
	if err != nil || len(gcc) == 0 {
		t.Fatalf("no libgcc_s.so.1: %v", err)
	}
	files := []vm.File{{Guest: gcc[0], Host: gcc[0], Mode: 0o755}}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		host, err := filepath.EvalSymlinks(m[1])
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, vm.File{Guest: m[1], Host: host, Mode: 0o755})
	}
	return files
}
