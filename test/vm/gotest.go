// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// sourceDir is where the guest finds the tested packages: each test binary in
// its package's directory, beside its testdata.
const sourceDir = "/src"

// TestBinary is a package's tests, built for the guest.
type TestBinary struct {
	Package string // relative to the repository, such as ./internal/overlay
	host    string // path of the binary
	data    string // path of testdata, or empty
}

// BuildTests builds the tests of packages, with the tag vmguest.
func BuildTests(ctx context.Context, packages ...string) ([]TestBinary, error) {
	root, err := Root(ctx)
	if err != nil {
		return nil, err
	}
	var tests []TestBinary
	for _, pkg := range packages {
		dir := filepath.Join(root, pkg)
		name := strings.ReplaceAll(strings.TrimPrefix(pkg, "./"), "/", "-") + ".test"
		host, err := goBuild(ctx, name, "test", "-tags=vmguest", pkg)
		if err != nil {
			return nil, err
		}
		b := TestBinary{Package: pkg, host: host}
		if _, err := os.Stat(filepath.Join(dir, "testdata")); err == nil {
			b.data = filepath.Join(dir, "testdata")
		}
		tests = append(tests, b)
	}
	return tests, nil
}

// Dir is the package's directory in the guest.
func (b TestBinary) Dir() string { return path.Join(sourceDir, b.Package) }

// Program is the test binary in the guest.
func (b TestBinary) Program() string { return path.Join(b.Dir(), path.Base(b.Package)+".test") }

// Files are what has to be in the guest to run the tests.
func (b TestBinary) Files() []File {
	files := []File{{Guest: b.Program(), Host: b.host, Mode: 0o755}}
	if b.data != "" {
		files = append(files, File{Guest: path.Join(b.Dir(), "testdata"), Host: b.data})
	}
	return files
}

// stallLimit is how long tests may say nothing: many times what the slowest
// takes.
const stallLimit = 5 * time.Minute

// GoTest runs a package's tests in the guest and returns how each ended; output
// gets what they print as it comes. args are flags of the test binary, such as
// -test.run=TestX. An error means that the guest failed, or that nothing was
// heard of it for five minutes; the tests that had run by then are returned all
// the same.
func (v *VM) GoTest(ctx context.Context, b TestBinary, output io.Writer, args ...string) (*TestRun, error) {
	watched, watch := watchStalls(ctx, stallLimit)
	defer watch.stop()
	if output == nil {
		output = io.Discard
	}
	output = io.MultiWriter(watch, output)
	r, err := v.Run(watched, Command{
		// A test that calls os.Exit(0) must not pass for the end of the tests.
		Args:   append([]string{b.Program(), "-test.v=test2json", "-test.paniconexit0"}, args...),
		Dir:    b.Dir(),
		Stdout: output,
		Stderr: output,
	})
	run := &TestRun{Package: b.Package}
	if r == nil {
		return run, err
	}
	if parseErr := run.parse(ctx, r.Combined); parseErr != nil && err == nil {
		err = parseErr
	}
	if err == nil && (r.Code != 0 || r.Signal != "") {
		run.end = fmt.Sprintf("exit status %d", r.Code)
		if r.Signal != "" {
			run.end = "ended by signal: " + r.Signal
		}
	}
	return run, err
}
