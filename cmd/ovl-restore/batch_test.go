// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdWhiteouts fills the directory below DIR/lower with N files, and the one
// below DIR/upper with as many whiteouts, and writes their paths in the merged
// view to DIR/SUB.list: whiteouts DIR SUB N
func cmdWhiteouts(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	lower := filepath.Join(ts.MkAbs(args[0]), "lower", args[1])
	upper := filepath.Join(ts.MkAbs(args[0]), "upper", args[1])
	for _, dir := range []string{lower, upper} {
		ts.Check(os.MkdirAll(dir, 0o755))
	}
	var list strings.Builder
	for i := range n {
		name := fmt.Sprintf("/%05d", i)
		list.WriteString(filepath.Join(ts.MkAbs(args[0]), "merged", args[1]) + name + "\n")
		ts.Check(os.WriteFile(lower+name, []byte("lower\n"), 0o644))
		ts.Check(unix.Mknod(upper+name, unix.S_IFCHR, 0))
	}
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), args[1]+".list"), []byte(list.String()), 0o644))
}

// cmdDivided asserts that an interrupted batch of the N paths of whiteouts was
// cut in two: some were restored and listed so, the others failed with EINTR and
// are still whiteouts, and there is nothing between: divided DIR SUB N
func cmdDivided(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	total, err := strconv.Atoi(args[2])
	ts.Check(err)
	base := ts.MkAbs(args[0])
	merged := filepath.Join(base, "merged", args[1])
	restored, failed := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		path, ok := strings.CutPrefix(line, "restored ")
		if !ok {
			ts.Fatalf("unexpected output: %q", line)
		}
		path, _, _ = strings.Cut(path, " ")
		restored[path] = true
	}
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		path, reason, ok := strings.Cut(strings.TrimPrefix(line, "ovl-restore: "), ": ")
		if !ok || !strings.HasPrefix(reason, "EINTR") {
			ts.Fatalf("unexpected error: %q", line)
		}
		failed[path] = true
	}
	for i := range total {
		name := fmt.Sprintf("/%05d", i)
		path := merged + name
		_, visible := os.Lstat(path)
		_, inUpper := os.Lstat(filepath.Join(base, "upper", args[1]) + name)
		switch {
		case restored[path] == failed[path]:
			ts.Fatalf("%s: restored %v, failed %v", path, restored[path], failed[path])
		case restored[path] != (visible == nil), failed[path] != (inUpper == nil):
			ts.Fatalf("%s: restored %v, but in the merged view: %v, in the upper: %v", path, restored[path], visible, inUpper)
		}
	}
	upper, err := os.ReadDir(filepath.Join(base, "upper", args[1]))
	ts.Check(err)
	if len(restored) == 0 || len(failed) == 0 || len(restored)+len(failed) != total || len(upper) != len(failed) {
		ts.Fatalf("%d restored, %d failed, %d entries in the upper", len(restored), len(failed), len(upper))
	}
	ts.Logf("%d restored, %d failed", len(restored), len(failed))
}

// cmdWhole asserts that the N paths of whiteouts are all back: whole DIR SUB N
func cmdWhole(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	total, err := strconv.Atoi(args[2])
	ts.Check(err)
	base := ts.MkAbs(args[0])
	listed, err := os.ReadDir(filepath.Join(base, "merged", args[1]))
	ts.Check(err)
	upper, err := os.ReadDir(filepath.Join(base, "upper", args[1]))
	ts.Check(err)
	if len(listed) != total || len(upper) != 0 {
		ts.Fatalf("%d entries in the merged view, %d in the upper", len(listed), len(upper))
	}
	for _, e := range listed {
		data, err := os.ReadFile(filepath.Join(base, "merged", args[1], e.Name()))
		ts.Check(err)
		if string(data) != "lower\n" {
			ts.Fatalf("%s: %q", e.Name(), data)
		}
	}
}

// cmdShared asserts that of two processes with the N paths of whiteouts one at
// least restored each, and that they told of no others: shared DIR SUB N
func cmdShared(ts *testscript.TestScript, neg bool, args []string) {
	arg(ts, neg, args, 3)
	total, err := strconv.Atoi(args[2])
	ts.Check(err)
	restored, told := map[string]int{}, map[string]int{}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if line == "nothing to restore\n" { // the other one had done all before it looked
			continue
		}
		verb, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		path, _, _ = strings.Cut(path, " ")
		switch verb {
		case "restored":
			restored[path]++
		case "refreshed", "shown":
		default:
			ts.Fatalf("unexpected output: %q", line)
		}
		told[path]++
	}
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		path, reason, _ := strings.Cut(strings.TrimPrefix(line, "ovl-restore: "), ": ")
		if !strings.HasPrefix(reason, "ESTALE: ") && !strings.HasPrefix(reason, "EEXIST: ") {
			ts.Fatalf("unexpected error: %q", line)
		}
		told[path]++
	}
	for i := range total {
		path := filepath.Join(ts.MkAbs(args[0]), "merged", args[1], fmt.Sprintf("%05d", i))
		if restored[path] == 0 {
			ts.Fatalf("%s: restored by nobody", path)
		}
		delete(told, path)
	}
	if len(told) > 0 {
		ts.Fatalf("unexpected paths: %v", told)
	}
}
