// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// checkSkips returns an error that names the tests that were skipped and are
// not expected to be.
func (s *summary) checkSkips(path string) error {
	expected, err := readExpected(path)
	if err != nil {
		return err
	}
	var surprises []string
next:
	for _, k := range s.skips {
		text := k.test + ": " + k.reason
		for _, e := range expected {
			if e.MatchString(text) {
				continue next
			}
		}
		surprises = append(surprises, text)
	}
	if len(surprises) > 0 {
		return fmt.Errorf("skipped, and not expected to be by %s:\n%s", path, strings.Join(surprises, "\n"))
	}
	return nil
}

// readExpected reads a file of regular expressions; # begins a comment line.
func readExpected(path string) ([]*regexp.Regexp, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the expected skips: %w", err)
	}
	var expected []*regexp.Regexp
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		re, err := regexp.Compile(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		expected = append(expected, re)
	}
	return expected, nil
}
