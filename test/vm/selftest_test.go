// SPDX-License-Identifier: Apache-2.0

//go:build vmlong

package vm_test

import (
	"regexp"
	"testing"

	"github.com/ovl-restore/ovl-restore/test/vm"
)

// totals is the last line of kselftest's harness, with what is to be zero.
var totals = regexp.MustCompile(`(?m)^# Totals: pass:(\d+) fail:0 xfail:0 xpass:0 skip:(\d+) error:0$`)

// TestSelftest runs the kselftest that the patches add, built as a kernel tree
// builds it: make test-kernel-selftest. Without the patches all of it is skipped.
func TestSelftest(t *testing.T) {
	for _, series := range vm.Series {
		for _, variant := range []vm.Variant{vm.Patched, vm.Stock} {
			t.Run(series+"/"+string(variant), func(t *testing.T) {
				kernel, err := vm.Prepare(t.Context(), series, variant)
				if err != nil {
					t.Fatal(err)
				}
				program, err := kernel.Selftest(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				guest := boot(t, vm.Config{
					Kernel: kernel,
					Files:  []vm.File{{Guest: "/usr/bin/restore_lower", Host: program, Mode: 0o755}},
				})
				r, err := guest.Run(t.Context(), vm.Command{Args: []string{"restore_lower"}})
				if err != nil {
					t.Fatal(err)
				}
				counts := totals.FindSubmatch(r.Combined)
				if r.Code != 0 || counts == nil {
					t.Fatalf("exit status %d\n%s", r.Code, r.Combined)
				}
				t.Logf("%s passed, %s skipped", counts[1], counts[2])
				if passed := string(counts[1]) != "0"; passed != (variant == vm.Patched) {
					t.Errorf("%s passed on the %s kernel", counts[1], variant)
				}
				if err := guest.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
