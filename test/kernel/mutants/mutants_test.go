// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// patched is what a series of patches makes of the lines that it is about: new
// ones and those around them.
func patched(t *testing.T, series string) string {
	t.Helper()
	files, err := filepath.Glob("../../../yocto/meta-ovl-restore/recipes-kernel/linux/files/" + series + "/*.patch")
	if err != nil || len(files) == 0 {
		t.Fatalf("patches of %s: %q, %v", series, files, err)
	}
	var b strings.Builder
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if line[0] == '+' || line[0] == ' ' {
				b.WriteString(line[1:])
			}
		}
	}
	return b.String()
}

// A mutant that is about code that is gone would go unnoticed until somebody
// has the minutes that it takes to build and to boot them all.
func TestMutantsAreOfThePatches(t *testing.T) {
	for _, series := range []string{"6.1", "6.12"} {
		source := patched(t, series)
		points := map[int]bool{}
		names := map[string]bool{}
		for _, m := range All {
			if !m.On(series) {
				continue
			}
			points[m.Point] = true
			if names[m.Name] {
				t.Errorf("%s: two are called %q", series, m.Name)
			}
			names[m.Name] = true
			for _, e := range m.Edits {
				if !strings.Contains(source, e.Old) {
					t.Errorf("%s: %q is about what the patches do not have:\n%s", series, m.Name, e.Old)
				}
			}
		}
		for p := range Points {
			if !points[p] {
				t.Errorf("%s: no mutant violates point %d", series, p)
			}
		}
	}
}
