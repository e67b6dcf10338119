// SPDX-License-Identifier: Apache-2.0

//go:build vmlong

package vm_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovl-restore/ovl-restore/test/kernel/mutants"
	"github.com/ovl-restore/ovl-restore/test/vm"
)

// mutantLimit ends a guest that a mutant has hung.
const mutantLimit = 2 * time.Minute

// TestMutants builds a module with each of the mutants, and runs the tests that
// have to notice: make test-kernel-mutants. A mutant is caught by a test that
// fails, or by a kernel that complains, dies or hangs. OVL_MUTANTS selects
// points, as in 3,7.
func TestMutants(t *testing.T) {
	for _, series := range vm.Series {
		t.Run(series, func(t *testing.T) {
			tests := map[string]vm.TestBinary{}
			for _, m := range mutants.All {
				if !m.On(series) || !selected(m.Point) {
					continue
				}
				if _, ok := tests[m.Arch]; !ok {
					t.Setenv("OVL_VM_GOARCH", m.Arch)
					built, err := vm.BuildTests(t.Context(), "./test/kernel")
					if err != nil {
						t.Fatal(err)
					}
					tests[m.Arch] = built[0]
					t.Setenv("OVL_VM_GOARCH", "")
				}
				t.Run(fmt.Sprintf("%d/%s", m.Point, m.Name), func(t *testing.T) {
					caught, err := catch(t, series, m, tests[m.Arch])
					switch {
					case err != nil:
						t.Fatal(err)
					case caught == "":
						t.Errorf("survives %s", m.Run)
					default:
						t.Logf("caught: %s", caught)
					}
				})
			}
		})
	}
}

func selected(point int) bool {
	points := os.Getenv("OVL_MUTANTS")
	if points == "" {
		return true
	}
	for p := range strings.SplitSeq(points, ",") {
		if p == strconv.Itoa(point) {
			return true
		}
	}
	return false
}

// catch runs the tests against a mutant and says what caught it, or nothing.
func catch(t *testing.T, series string, m mutants.Mutant, tests vm.TestBinary) (caught string, err error) {
	t.Helper()
	edits := t.TempDir()
	for i, e := range m.Edits {
		dir := filepath.Join(edits, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		for name, content := range map[string]string{"file": "fs/overlayfs/" + e.File, "old": e.Old, "new": e.New} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				return "", err
			}
		}
	}
	kernel, err := vm.PrepareEdited(t.Context(), series, edits)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(t.Context(), mutantLimit)
	defer cancel()
	guest, err := vm.Boot(ctx, vm.Config{
		Kernel: kernel,
		Files:  tests.Files(),
		Memory: 1024,
		CPUs:   2,
	})
	if err != nil {
		return "", err
	}
	defer func() {
		if err := guest.Kill(); err != nil {
			t.Error(err)
		}
	}()
	run, err := guest.GoTest(ctx, tests, nil, "-test.run="+m.Run, "-test.failfast")
	if err != nil {
		return firstLine(err.Error()), nil
	}
	if name := failed("", run.Tests); name != "" {
		return name, nil
	}
	if len(run.Tests) == 0 {
		return "", fmt.Errorf("%s selects no test", m.Run)
	}
	if err := guest.Shutdown(ctx); err != nil {
		return firstLine(err.Error()), nil
	}
	return "", nil
}

// failed is the full name of the first test that did not pass and has no
// subtest that did not.
func failed(above string, tests []*vm.Test) string {
	for _, test := range tests {
		if test.Outcome != vm.Fail && test.Outcome != vm.Unfinished {
			continue
		}
		if sub := failed(above+test.Name+"/", test.Sub); sub != "" {
			return sub
		}
		return above + test.Name
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
