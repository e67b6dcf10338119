// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const events = `{"Action":"build-output","ImportPath":"x","Output":"# x\n"}
{"Action":"output","Package":"p","Test":"TestOK","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestOK"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    p_test.go:7: loud\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestSkip","Output":"=== RUN   TestSkip\n"}
{"Action":"output","Package":"p","Test":"TestSkip","Output":"    p_test.go:9: needs root\n"}
{"Action":"output","Package":"p","Test":"TestSkip","Output":"--- SKIP: TestSkip (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestSkip"}
{"Action":"output","Package":"p","Test":"TestCrash","Output":"last words\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
not an event`

func TestSummary(t *testing.T) {
	var out strings.Builder
	s := newSummary(&out)
	for line := range strings.Lines(events) {
		s.line([]byte(strings.TrimSuffix(line, "\n")))
	}
	s.end()
	want := "# x\n" +
		"    p_test.go:7: loud\n" +
		"FAIL\tp\t0.1s\n" +
		"last words\n" +
		"not an event\n" +
		"skipped    1: needs root\n" +
		"1 passed, 1 failed, 1 skipped\n"
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	if s.failedPackages != 1 {
		t.Errorf("%d failed packages, want 1", s.failedPackages)
	}
}

func TestSkipsHaveToBeExpected(t *testing.T) {
	s := newSummary(&strings.Builder{})
	s.skips = []skip{{"p.TestA", "needs root"}, {"p.TestB", ""}}
	for _, test := range []struct{ expected, surprise string }{
		{"# both\nneeds root$\n\n^p\\.TestB: $\n", ""},
		{"needs root", "p.TestB: "},
		{"TestB", "p.TestA: needs root"},
	} {
		path := filepath.Join(t.TempDir(), "skips")
		if err := os.WriteFile(path, []byte(test.expected), 0o644); err != nil {
			t.Fatal(err)
		}
		err := s.checkSkips(path)
		switch {
		case test.surprise == "":
			if err != nil {
				t.Error(err)
			}
		case err == nil || !strings.HasSuffix(err.Error(), ":\n"+test.surprise):
			t.Errorf("with %q: %v, want %q", test.expected, err, test.surprise)
		}
	}
}
