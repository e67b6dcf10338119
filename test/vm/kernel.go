// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Variant says whose overlay module a guest runs.
type Variant string

// The variants of a kernel.
const (
	// Stock is the distribution's own overlay module: the tool must fall back.
	Stock Variant = "stock"
	// Patched is the module built with this repository's patches.
	Patched Variant = "patched"
	// Debug is a kernel of its own, with this repository's patches, that
	// watches its locks and its memory. It is slow, and slow to build.
	Debug Variant = "debug"
)

// Kernel is a kernel ready to boot.
type Kernel struct {
	Series  string // such as 6.1
	Variant Variant
	Release string // as uname -r prints it
	Image   string // path of vmlinuz
	Busybox string // path of a static busybox

	machine machine
	modules *modules
	// overlay is the path of the patched module, or empty.
	overlay string
	// deleg is the path of the module that TestDelegation needs, or empty.
	deleg string
}

// Root returns the repository's root directory.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: go env GOMOD: %w", err)
	}
	path := strings.TrimSpace(string(out))
	if path == "" || path == os.DevNull {
		return "", errors.New("find the repository: not inside a Go module")
	}
	return filepath.Dir(path), nil
}

// Patches returns the directory of the patches for a series, and whether there
// are any.
func Patches(root, series string) (dir string, found bool) {
	dir = filepath.Join(root, "yocto/meta-ovl-restore/recipes-kernel/linux/files", series)
	patches, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	return dir, err == nil && len(patches) > 0
}

// Prepare makes a kernel ready to boot: the first time it downloads and builds,
// later it finds what it made under build/vm. A patched kernel of a series
// without patches is an error. The kernel is one for the machine that
// OVL_VM_ARCH names.
func Prepare(ctx context.Context, series string, variant Variant) (*Kernel, error) {
	return prepare(ctx, series, variant, "")
}

// PrepareEdited prepares a patched kernel with a module of edited source. The
// directory of the edits is as test/vm/kernel/module.sh wants it, and gets the
// module.
func PrepareEdited(ctx context.Context, series, edits string) (*Kernel, error) {
	return prepare(ctx, series, Patched, edits)
}

func prepare(ctx context.Context, series string, variant Variant, edits string) (*Kernel, error) {
	machine, err := currentMachine()
	if err != nil {
		return nil, err
	}
	root, err := Root(ctx)
	if err != nil {
		return nil, err
	}
	cache := filepath.Join(root, "build/vm")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("make the kernels' cache: %w", err)
	}
	// Several packages' tests, and several people, may prepare at once.
	lock, err := Lock(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Close()

	if _, err := script(ctx, root, "tools.sh", machine.arch); err != nil {
		return nil, err
	}
	dir, err := script(ctx, root, "fetch.sh", series, cache, machine.arch)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Series: series, Variant: variant, Busybox: filepath.Join(dir, "busybox"), machine: machine}
	if err := k.take(dir); err != nil {
		return nil, err
	}
	switch variant {
	case Stock:
	case Debug:
		patches, _ := Patches(root, series)
		if dir, err = script(ctx, root, "debug.sh", dir, patches); err != nil {
			return nil, err
		}
		if err := k.take(dir); err != nil {
			return nil, err
		}
	case Patched:
		patches, _ := Patches(root, series)
		if k.overlay, err = script(ctx, root, "module.sh", dir, patches, edits); err != nil {
			return nil, err
		}
		if k.deleg, err = script(ctx, root, "extra.sh", dir, filepath.Join(root, "test/kernel/deleg")); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("no kernel variant %q", variant)
	}
	return k, nil
}

// take takes image and modules from a directory that a script has filled.
func (k *Kernel) take(dir string) error {
	release, err := os.ReadFile(filepath.Join(dir, "abi"))
	if err != nil {
		return fmt.Errorf("read the kernel's release: %w", err)
	}
	k.Release = strings.TrimSpace(string(release))
	k.Image = filepath.Join(dir, "vmlinuz")
	k.modules, err = readModules(filepath.Join(dir, "root/lib/modules", k.Release))
	return err
}

// HasModule tells whether a module is among the kernel's or part of it.
func (k *Kernel) HasModule(name string) bool {
	return k.modules.builtin[name] || k.modules.files[name] != ""
}

// Selftest builds the kselftest that the patches add, and returns the path of a
// static program.
func (k *Kernel) Selftest(ctx context.Context) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	patches, _ := Patches(root, k.Series)
	return script(ctx, root, "selftest.sh", filepath.Dir(k.Busybox), patches)
}

// script runs one of the scripts in test/vm/kernel and returns what it prints.
func script(ctx context.Context, root, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(root, "test/vm/kernel", name), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}
