// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
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
	var all []*guest
	for _, series := range vm.Series {
		for _, variant := range vm.Variants(root, series) {
			g := &guest{series: series, variant: variant, files: slices.Clone(tools), done: make(chan struct{})}
			if g.tests, err = vm.BuildTests(ctx, vm.Packages(variant)...); err != nil {
				t.Fatal(err)
			}
			for _, b := range g.tests {
				g.files = append(g.files, b.Files()...)
			}
			g.log = guestLog(t, root, series, variant)
			all = append(all, g)
		}
	}
	go runAll(ctx, all)
	for _, g := range all {
		t.Run(g.series+"/"+string(g.variant), func(t *testing.T) {
			<-g.done
			g.report(t)
		})
	}
}

// guest is one that runs tests.
type guest struct {
	series  string
	variant vm.Variant
	tests   []vm.TestBinary
	files   []vm.File
	log     io.Writer

	done chan struct{} // closed when what follows is known
	runs []*vm.TestRun // of tests, one for each that was begun
	err  error
}

// runAll runs guests, as many at once as there are processors. They begin in their
// order, those that take longest first: subtests that are parallel would not.
func runAll(ctx context.Context, all []*guest) {
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, g := range all {
		slots <- struct{}{}
		go func() {
			g.err = g.run(ctx)
			close(g.done)
			<-slots
		}()
	}
}

func (g *guest) run(ctx context.Context) (err error) {
	kernel, err := vm.Prepare(ctx, g.series, g.variant)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, guestLimit)
	defer cancel()
	v, err := vm.Boot(ctx, vm.Config{Kernel: kernel, Files: g.files, Memory: 1024})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Kill()) }()
	var args []string
	if os.Getenv("OVL_VM_LONG") == "" {
		args = append(args, "-test.short")
	}
	if pattern := os.Getenv("OVL_VM_RUN"); pattern != "" {
		args = append(args, "-test.run="+pattern)
	}
	for _, b := range g.tests {
		run, err := v.GoTest(ctx, b, g.log, args...)
		g.runs = append(g.runs, run)
		if err != nil {
			return err
		}
	}
	return v.Shutdown(ctx)
}

// report reports each of the guest's tests as a subtest.
func (g *guest) report(t *testing.T) {
	for i, run := range g.runs {
		t.Run(g.tests[i].Package[len("./"):], func(t *testing.T) {
			if os.Getenv("OVL_VM_RUN") != "" && len(run.Tests) == 0 {
				t.Skip("OVL_VM_RUN selects nothing here")
			}
			run.Report(t)
			t.Logf("%d passed, %d failed, %d skipped", run.Count(vm.Pass), run.Count(vm.Fail), run.Count(vm.Skip))
		})
	}
	if g.err != nil {
		t.Error(g.err)
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
