// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is what go test -json prints.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// summary is what is known so far.
type summary struct {
	out    io.Writer
	output map[[2]string]*strings.Builder // of tests that have not ended

	passed, failed, failedPackages int
	skips                          []skip
}

// skip is a test that was skipped.
type skip struct{ test, reason string }

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: make(map[[2]string]*strings.Builder)}
}

// line takes one line of input; what is no event is passed on.
func (s *summary) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
		fmt.Fprintf(s.out, "%s\n", line)
		return
	}
	key := [2]string{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(s.out, e.Output)
	case e.Test == "":
		s.packageEvent(e)
	case e.Action == "output":
		if s.output[key] == nil {
			s.output[key] = &strings.Builder{}
		}
		s.output[key].WriteString(e.Output)
	case e.Action == "pass":
		s.passed++
		delete(s.output, key)
	case e.Action == "fail":
		s.failed++
		s.show(key)
	case e.Action == "skip":
		s.skips = append(s.skips, skip{e.Package + "." + e.Test, reason(s.output[key])})
		delete(s.output, key)
	}
}

func (s *summary) packageEvent(e event) {
	switch e.Action {
	case "output":
		noise := e.Output == "PASS\n" || strings.HasPrefix(e.Output, "=== ") || strings.Contains(e.Output, "[no test files]")
		if !noise {
			fmt.Fprint(s.out, e.Output)
		}
	case "fail":
		s.failedPackages++
		// Of what a crash interrupted, the output is all there is.
		for _, key := range slices.SortedFunc(maps.Keys(s.output), compareKeys) {
			if key[0] == e.Package {
				s.show(key)
			}
		}
	}
}

func compareKeys(a, b [2]string) int {
	return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
}

func (s *summary) show(key [2]string) {
	if b := s.output[key]; b != nil {
		for line := range strings.Lines(b.String()) {
			if !strings.HasPrefix(line, "=== ") {
				fmt.Fprint(s.out, line)
			}
		}
	}
	delete(s.output, key)
}

// reason is what a skipped test said of itself.
func reason(output *strings.Builder) string {
	if output == nil {
		return ""
	}
	var said []string
	for line := range strings.Lines(output.String()) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		// file.go:12: reason
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				line = text
			}
		}
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

// shorten cuts a reason that brings along all that a script has printed.
func shorten(reason string) string {
	const limit = 100
	if r := []rune(reason); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return reason
}

// end prints the counts, and the skips by their reasons.
func (s *summary) end() {
	byReason := make(map[string]int)
	for _, k := range s.skips {
		byReason[k.reason]++
	}
	for _, r := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(s.out, "skipped %4d: %s\n", byReason[r], cmp.Or(shorten(r), "(no reason given)"))
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skips))
}
