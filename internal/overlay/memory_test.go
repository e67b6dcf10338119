// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package overlay

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// How much memory the program takes does not depend on the kernel: these are not
// for the guests.

// What a restored tree takes in memory does not grow with what there is to
// restore, or to keep.
func TestRestoringALargeTreeInLittleMemory(t *testing.T) {
	few, many := 6000, 18000
	if testing.Short() {
		few, many = 5000, 10000
	}
	for _, dryRun := range []bool{true, false} {
		t.Run(fmt.Sprintf("dry run %t", dryRun), func(t *testing.T) {
			peak := map[int]uint64{}
			for _, n := range []int{few, many} {
				peak[n] = peakOfRestoring(t, n, dryRun)
			}
			t.Logf("%d: %d KiB, %d: %d KiB", few, peak[few]>>10, many, peak[many]>>10)
			if grown := int64(peak[many]) - int64(peak[few]); grown > 2<<20 {
				t.Errorf("%d more entries take %d KiB more", many-few, grown>>10)
			}
		})
	}
}

// Nor does what a check takes, with what it finds.
func TestCheckingALargeUpperInLittleMemory(t *testing.T) {
	few, many := 12000, 40000 // few fill what may be read ahead
	if testing.Short() {
		few, many = 10000, 30000
	}
	peak := map[int]uint64{}
	for _, n := range []int{few, many} {
		s := &stage{t: t, Overlay: namespace.NewOverlay(t), userxattr: !namespace.Privileged()}
		s.fillDeletions(n)
		s.must(os.Rename(s.Lower, s.Lower+".old"))
		s.must(os.Mkdir(s.Lower, 0o755))
		total := 0
		_, err := s.unmounted().Check(context.Background(), CheckOptions{Found: func(findings []Finding) error {
			for _, f := range findings {
				if f.Code != ExposedWhiteout {
					t.Fatalf("%+v", f)
				}
			}
			total += len(findings)
			peak[n] = max(peak[n], heapInUse())
			return nil
		}})
		s.must(err)
		if total != n {
			t.Fatalf("%d findings, want %d", total, n)
		}
	}
	t.Logf("%d: %d KiB, %d: %d KiB", few, peak[few]>>10, many, peak[many]>>10)
	if grown := int64(peak[many]) - int64(peak[few]); grown > 2<<20 { // 250 bytes each, if they were kept
		t.Errorf("%d more findings take %d KiB more", many-few, grown>>10)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// peakOfRestoring is how much memory was in use at most, when one entry in
// two thousand was reported.
func peakOfRestoring(t *testing.T, n int, dryRun bool) (peak uint64) {
	t.Helper()
	s := &stage{t: t, Overlay: namespace.NewOverlay(t), userxattr: !namespace.Privileged()} // in memory
	s.fillDeletions(n)
	s.mount()
	defer s.Unmount(t)
	o, err := Open(s.Merged, Options{})
	s.must(err)
	defer func() { s.must(o.Close()) }()
	results, planned := 0, 0
	o.RestoreEach(context.Background(), []string{s.Merged}, RestoreOptions{Method: MethodRemount, Recursive: true, DryRun: dryRun}, func(r Result) {
		switch r.Status {
		case StatusKept:
		case StatusPlanned, StatusDone:
			planned++
		default:
			t.Fatalf("%+v", r)
		}
		if results++; results%2000 == 0 {
			peak = max(peak, heapInUse())
		}
	})
	if planned != n || results != 2*n {
		t.Fatalf("%d results, %d of them planned or done, want %d and %d", results, planned, 2*n, n)
	}
	return peak
}

// fillDeletions makes n whiteouts over files, and beside each a file of the
// upper's own, a hundred in a directory. Nothing is mounted yet.
func (s *stage) fillDeletions(n int) {
	s.t.Helper()
	beside := filepath.Dir(s.Upper)
	whiteout, file := beside+"/whiteout", beside+"/file"
	s.must(unix.Mknod(whiteout, unix.S_IFCHR, 0))
	s.must(os.WriteFile(file, nil, 0o644))
	for i := range n {
		dir := fmt.Sprintf("/%d", i/100)
		if i%100 == 0 {
			s.must(os.Mkdir(s.Upper+dir, 0o755))
			s.must(os.Mkdir(s.Lower+dir, 0o755))
		}
		name := fmt.Sprintf("%s/%d", dir, i%100)
		s.must(os.WriteFile(s.Lower+name, nil, 0o644))
		s.must(os.Link(whiteout, s.Upper+name))
		s.must(os.Link(file, s.Upper+name+"-own"))
	}
}
