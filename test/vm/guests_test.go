// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// guestLimit ends a guest that goes on for ever: far more than all packages
// take together.
const guestLimit = 20 * time.Minute

// TestGuests runs the tests of vm.Packages on each kernel, stock and patched,
// and reports each of them as a subtest. OVL_VM_RUN selects tests in the
// guests, as -run does. The guests run with -test.short, since emulation makes
// everything several times slower than on the host, where the same tests run in
// full; OVL_VM_LONG=1 runs them in full in the guests too. What the guests print can be followed in build/vm/log.
func TestGuests(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	root, err := vm.Root(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { forbidCaching(t, root) })
	tools, err := vm.ToolFiles(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range vm.Series {
		for _, variant := range vm.Variants(root, series) {
			tests, err := vm.BuildTests(ctx, vm.Packages(variant)...)
			if err != nil {
				t.Fatal(err)
			}
			files := slices.Clone(tools)
			for _, b := range tests {
				files = append(files, b.Files()...)
			}
			t.Run(series+"/"+string(variant), func(t *testing.T) {
				t.Parallel()
				runGuest(t, guestLog(t, root, series, variant), series, variant, tests, files)
			})
		}
	}
}

func runGuest(t *testing.T, log io.Writer, series string, variant vm.Variant, tests []vm.TestBinary, files []vm.File) {
	kernel, err := vm.Prepare(t.Context(), series, variant)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), guestLimit)
	defer cancel()
	guest, err := vm.Boot(ctx, vm.Config{Kernel: kernel, Files: files, Memory: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := guest.Kill(); err != nil {
			t.Error(err)
		}
	}()

	var args []string
	if os.Getenv("OVL_VM_LONG") == "" {
		args = append(args, "-test.short")
	}
	if pattern := os.Getenv("OVL_VM_RUN"); pattern != "" {
		args = append(args, "-test.run="+pattern)
	}
	for _, b := range tests {
		run, err := guest.GoTest(ctx, b, log, args...)
		t.Run(b.Package[len("./"):], func(t *testing.T) {
			if os.Getenv("OVL_VM_RUN") != "" && len(run.Tests) == 0 {
				t.Skip("OVL_VM_RUN selects nothing here")
			}
			run.Report(t)
			t.Logf("%d passed, %d failed, %d skipped", run.Count(vm.Pass), run.Count(vm.Fail), run.Count(vm.Skip))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := guest.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// guestLog opens the file that a guest's tests print to.
func guestLog(t *testing.T, root, series string, variant vm.Variant) *os.File {
	t.Helper()
	dir := filepath.Join(root, "build/vm/log")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, series+"-"+string(variant)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// forbidCaching keeps the go command from taking this run's result for the
// next one's. It looks at the files that this process read, but other processes
// build what runs in the guests. It never trusts a file just written.
func forbidCaching(t *testing.T, root string) {
	t.Helper()
	path := filepath.Join(root, "build/vm/last-run")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Error(err)
	}
	if _, err := os.ReadFile(path); err != nil {
		t.Error(err)
	}
}
