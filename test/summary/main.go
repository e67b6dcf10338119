// SPDX-License-Identifier: Apache-2.0

// Command summary reads what go test -json prints and shows what a person
// wants of it: the closing line of each package, the output of tests that
// failed, and at the end how many tests passed, failed and were skipped, and
// why. It exits with 1 if a test failed.
//
// With -expected FILE it also fails if a test was skipped that is not expected
// to be: FILE has a regular expression on each line, for "package.Test: reason".
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
)

func main() {
	expected := flag.String("expected", "", "`file` of the skips that are expected")
	flag.Parse()
	ok, err := run(*expected)
	if err != nil {
		fmt.Fprintf(os.Stderr, "summary: %v\n", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(expected string) (ok bool, err error) {
	s := newSummary(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20) // a test may print a lot on one line
	for in.Scan() {
		s.line(in.Bytes())
	}
	if err := in.Err(); err != nil {
		return false, fmt.Errorf("read the events: %w", err)
	}
	s.end()
	if expected != "" {
		if err := s.checkSkips(expected); err != nil {
			return false, err
		}
	}
	return s.failed == 0 && s.failedPackages == 0, nil
}
