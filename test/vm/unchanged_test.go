// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"strings"
	"testing"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// operations is how many there are on each kind of overlay.
const operations = "300"

// TestUnchanged does the same without the new ioctls on a kernel with the patches
// and on one without, at random but always alike, on each kind of overlay, and
// compares all that the kernels say.
func TestUnchanged(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	program, err := vm.BuildProgram(t.Context(), "./test/kernel/unchanged")
	if err != nil {
		t.Fatal(err)
	}
	root, err := vm.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, series := range vm.Series {
		if _, found := vm.Patches(root, series); !found {
			continue
		}
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			stock := runUnchanged(t, series, vm.Stock, program)
			patched := runUnchanged(t, series, vm.Patched, program)
			for n, line := range stock {
				if n >= len(patched) || patched[n] != line {
					t.Fatalf("after\n%s\nwithout the patches: %s\nwith them: %s", strings.Join(stock[max(0, n-40):n], "\n"), line,
						strings.Join(patched[n:min(n+1, len(patched))], ""))
				}
			}
			t.Logf("%d lines are the same", len(stock))
		})
	}
}

func runUnchanged(t *testing.T, series string, variant vm.Variant, program string) []string {
	t.Helper()
	kernel, err := vm.Prepare(t.Context(), series, variant)
	if err != nil {
		t.Fatal(err)
	}
	guest := boot(t, vm.Config{
		Kernel: kernel,
		Files:  []vm.File{{Guest: "/usr/bin/unchanged", Host: program, Mode: 0o755}},
	})
	r, err := guest.Run(t.Context(), vm.Command{Args: []string{"unchanged", operations}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("exit status %d: %s", r.Code, r.Stderr)
	}
	if err := guest.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	return strings.Split(strings.TrimSuffix(string(r.Stdout), "\n"), "\n")
}
