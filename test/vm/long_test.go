// SPDX-License-Identifier: Apache-2.0

//go:build vmlong

package vm_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// TestKernel runs the kernel's tests for longer, and on more, than make test
// does: make test-kernel-race and make test-kernel-debug. OVL_RACE is how long
// the race lasts, OVL_VM_VARIANT the kernel's variant, OVL_VM_RUN selects tests,
// OVL_VM_FILESYSTEMS adds all file systems that the kernel has.
func TestKernel(t *testing.T) {
	variant := vm.Variant(os.Getenv("OVL_VM_VARIANT"))
	if variant == "" {
		variant = vm.Patched
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	defer cancel()
	root, err := vm.Root(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := vm.BuildTests(ctx, "./test/kernel")
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range vm.Series {
		if _, found := vm.Patches(root, series); !found {
			continue
		}
		t.Run(series, func(t *testing.T) {
			runKernelTests(ctx, t, series, variant, tests[0])
		})
	}
}

func runKernelTests(ctx context.Context, t *testing.T, series string, variant vm.Variant, tests vm.TestBinary) {
	kernel, err := vm.Prepare(ctx, series, variant)
	if err != nil {
		t.Fatal(err)
	}
	config := vm.Config{
		Kernel:    kernel,
		Files:     tests.Files(),
		Memory:    2048,
		CPUs:      4,
		Env:       []string{"OVL_RACE=" + os.Getenv("OVL_RACE")},
		BootLimit: 5 * time.Minute,
	}
	if os.Getenv("OVL_VM_FILESYSTEMS") != "" {
		addFileSystems(ctx, t, &config)
	}
	guest, err := vm.Boot(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := guest.Kill(); err != nil {
			t.Error(err)
		}
	}()
	var args []string
	if pattern := os.Getenv("OVL_VM_RUN"); pattern != "" {
		args = append(args, "-test.run="+pattern)
	}
	run, err := guest.GoTest(ctx, tests, nil, args...)
	run.Report(t)
	t.Logf("%d passed, %d failed, %d skipped", run.Count(vm.Pass), run.Count(vm.Fail), run.Count(vm.Skip))
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
