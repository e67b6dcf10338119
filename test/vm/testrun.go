// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes; a test that began and never ended, because its process
// crashed for example, is Unfinished.
const (
	Pass       Outcome = "pass"
	Fail       Outcome = "fail"
	Skip       Outcome = "skip"
	Unfinished Outcome = ""
)

// Test is one test of a run, or a subtest.
type Test struct {
	Name    string // without the names of the tests above
	Outcome Outcome
	Output  string
	Sub     []*Test
}

// TestRun is a run of one package's tests.
type TestRun struct {
	Package string
	Tests   []*Test
	Output  string // what belongs to no test

	end    string // how the process ended, where it did not end well
	byName map[string]*Test
}

// event is what test2json prints.
type event struct {
	Action string
	Test   string
	Output string
}

// parse makes the tests out of a test binary's output, by the go command's own
// understanding of it.
func (r *TestRun) parse(ctx context.Context, output []byte) error {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-p", r.Package)
	if ctx.Err() != nil {
		// What ran before the time was up is worth knowing all the same.
		cmd = exec.Command("go", "tool", "test2json", "-p", r.Package) //nolint:noctx // see above
	}
	cmd.Stdin = bytes.NewReader(output)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("read the tests' output: go tool test2json: %w", err)
	}
	r.byName = make(map[string]*Test)
	in := json.NewDecoder(bytes.NewReader(out))
	for {
		var e event
		switch err := in.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read test2json's events: %w", err)
		}
		r.take(e)
	}
}

func (r *TestRun) take(e event) {
	if e.Test == "" {
		r.Output += e.Output
		return
	}
	t := r.test(e.Test)
	switch e.Action {
	case "output":
		t.Output += e.Output
	case "pass", "fail", "skip":
		t.Outcome = Outcome(e.Action)
	}
}

// test returns the test of a full name, which it adds, with those above it,
// where it is new.
func (r *TestRun) test(name string) *Test {
	if t := r.byName[name]; t != nil {
		return t
	}
	above, last := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 && r.byName[name[:i]] != nil {
		above, last = name[:i], name[i+1:]
	}
	t := &Test{Name: last}
	r.byName[name] = t
	if above == "" {
		r.Tests = append(r.Tests, t)
	} else {
		r.byName[above].Sub = append(r.byName[above].Sub, t)
	}
	return t
}

// Count returns how many tests, subtests included, ended in a way.
func (r *TestRun) Count(o Outcome) int { return count(r.Tests, o) }

func count(tests []*Test, o Outcome) int {
	n := 0
	for _, t := range tests {
		if t.Outcome == o {
			n++
		}
		n += count(t.Sub, o)
	}
	return n
}

// Err returns an error unless every test passed or was skipped, the process
// ended well, and there was something to run.
func (r *TestRun) Err() error {
	switch {
	case r.Count(Fail) > 0:
		return fmt.Errorf("%s: %d tests failed", r.Package, r.Count(Fail))
	case r.Count(Unfinished) > 0:
		return fmt.Errorf("%s: %d tests did not finish: %s\n%s", r.Package, r.Count(Unfinished), r.end, r.Output)
	case r.end != "":
		return fmt.Errorf("%s: %s\n%s", r.Package, r.end, r.Output)
	case len(r.Tests) == 0:
		return fmt.Errorf("%s: no tests ran\n%s", r.Package, r.Output)
	}
	return nil
}
