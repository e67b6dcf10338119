// SPDX-License-Identifier: Apache-2.0

// Command walk measures, in one run, how fast the upper is walked and compared
// with the lower, against find and against a walk by one thread: an upper of a
// million entries in 10,000 directories, 100,000 of them whiteouts, over a lower
// of half a million. Everything is in the caches. Each figure is the best of
// several, and the others' are measured in turn with ours.
//
// The trees are made below -dir. To restore from an overlay it has to be mounted,
// in a private mount name space: that needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

func main() {
	scale := flag.Int("directories", 10000, "`number` of directories, with 100 upper entries each")
	dir := flag.String("dir", "", "make the trees in this `directory`; by default in memory where there is /dev/shm")
	runs := flag.Int("runs", 5, "`number` of runs, of which the best counts")
	child := flag.String("measure", "", "what a child process measures; for the command's own use")
	flag.Parse()
	if err := run(*child, *dir, *scale, *runs); err != nil {
		fmt.Fprintf(os.Stderr, "walk: %v\n", err)
		os.Exit(1)
	}
}

func run(child, dir string, scale, runs int) (err error) {
	if child != "" {
		return measure(child, dir)
	}
	if dir == "" {
		dir = os.TempDir()
		if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
			dir = "/dev/shm"
		}
	}
	if dir, err = os.MkdirTemp(dir, "ovl-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := makeTrees(dir, scale); err != nil {
		return fmt.Errorf("make the trees: %w", err)
	}
	fmt.Printf("%d upper entries in %d directories, %d lower entries; %d processors\n\n",
		scale*100, scale, scale*50, runtime.NumCPU())
	if err := compare(dir, runs, marksWays); err != nil {
		return err
	}
	for _, ways := range [][]way{diffWays, checkWays, restoreWays} {
		if err := compare(dir, runs, ways); err != nil {
			return err
		}
	}
	return nil
}

// The files of a directory: 10 whiteouts, of one inode, as kernels since 5.9 make
// them, and 20 copies of lower files of which
// half are edited, 20 lower files that the upper does not have, and 70 that only
// the upper has.
func makeTrees(dir string, scale int) error {
	past := unix.NsecToTimespec(1e18)
	whiteout := filepath.Join(dir, "whiteout")
	if err := unix.Mknod(whiteout, unix.S_IFCHR, 0); err != nil {
		return err
	}
	for d := range scale {
		upper := filepath.Join(dir, "upper", strconv.Itoa(d/100), strconv.Itoa(d%100))
		lower := filepath.Join(dir, "lower", strconv.Itoa(d/100), strconv.Itoa(d%100))
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(lower, 0o755)); err != nil {
			return err
		}
		for i := range 120 {
			name := "/file-" + strconv.Itoa(i)
			inLower, inUpper := i < 50, i < 30 || i >= 50
			if inLower {
				if err := makeFile(lower+name, past); err != nil {
					return err
				}
			}
			var err error
			switch {
			case !inUpper:
			case i < 10:
				err = os.Link(whiteout, upper+name)
			case i < 20: // a plain copy
				err = makeFile(upper+name, past)
			default:
				err = makeFile(upper+name, unix.Timespec{Nsec: unix.UTIME_OMIT})
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func makeFile(path string, mtime unix.Timespec) error {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(unix.Close(fd),
		unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{mtime, mtime}, unix.AT_SYMLINK_NOFOLLOW))
}

// way is one way to walk; the first of several is what the others are compared with.
type way struct {
	name  string
	args  []string // of a program; or
	self  string   // what this program does itself,
	procs int      // with so many processors
}

var marksWays = []way{
	{name: "find UPPER -type c", args: []string{"find", "upper", "-type", "c"}},
	{name: "one thread, getdents and opaque", self: "plain", procs: 1},
	{name: "one thread, the same and whiteouts", self: "plain-marks", procs: 1},
	{name: "marks", self: "marks"},
	{name: "marks, GOMAXPROCS=1", self: "marks", procs: 1},
}

var diffWays = []way{
	{name: "find UPPER LOWER -size +1000c", args: []string{"find", "upper", "lower", "-size", "+1000c"}},
	{name: "diff", self: "diff"},
	{name: "diff, with equal copies", self: "diff-all"},
	{name: "diff, GOMAXPROCS=1", self: "diff", procs: 1},
}

// These are measured against what diff has to be measured against: each reads the
// upper and the lower.
var checkWays = []way{
	{name: "find UPPER LOWER -size +1000c", args: []string{"find", "upper", "lower", "-size", "+1000c"}},
	{name: "check", self: "check"},
	{name: "check, GOMAXPROCS=1", self: "check", procs: 1},
	{name: "status", self: "status"},
}

var restoreWays = []way{
	{name: "find UPPER -type c", args: []string{"find", "upper", "-type", "c"}},
	{name: "restore -r -n", self: "restore"},
	{name: "restore -r -n, GOMAXPROCS=1", self: "restore", procs: 1},
}

func compare(dir string, runs int, ways []way) error {
	best := make([]time.Duration, len(ways))
	work := make([]time.Duration, len(ways))
	memory := make([]int64, len(ways))
	for r := range runs + 1 { // the first fills the caches
		for i, w := range ways {
			took, usage, err := w.run(dir)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			busy := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
			if r <= 1 || took < best[i] {
				best[i] = took
			}
			if r <= 1 || busy < work[i] {
				work[i] = busy
			}
			memory[i] = max(memory[i], int64(usage.Maxrss)) //nolint:unconvert // 32 bits on some machines
		}
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "\ttime\ttimes faster\tof the processors\tmemory\n")
	for i, w := range ways {
		fmt.Fprintf(out, "%s\t%v\t%.2f\t%v\t%.1f MiB\n", w.name, best[i].Round(time.Millisecond),
			float64(best[0])/float64(best[i]), work[i].Round(time.Millisecond), float64(memory[i])/1024)
	}
	fmt.Fprintln(out)
	return out.Flush()
}

// run starts a process and returns its time, from its start to its end.
func (w way) run(dir string) (took time.Duration, usage *syscall.Rusage, err error) {
	cmd := exec.Command("/proc/self/exe", "-dir", dir, "-measure", w.self)
	if w.self == "" {
		cmd = exec.Command(w.args[0], w.args[1:]...)
	}
	if w.self == "restore" || w.self == "status" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	if w.procs > 0 {
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(w.procs))
	}
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, nil, err
	}
	took = time.Since(begin)
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return took, nil, errors.New("the system does not say what it took")
	}
	return took, usage, nil
}

func measure(what, dir string) error {
	switch what {
	case "plain":
		return plain(filepath.Join(dir, "upper"), nil)
	case "plain-marks":
		n := 0
		err := plain(filepath.Join(dir, "upper"), func(string) { n++ })
		if err == nil && n == 0 {
			err = errors.New("nothing was found")
		}
		return err
	case "check":
		return check(dir)
	case "restore":
		return restore(dir)
	case "status":
		return status(dir)
	}
	layers, err := overlay.OpenLayers(filepath.Join(dir, "upper"), []string{filepath.Join(dir, "lower")}, overlay.LayerOptions{})
	if err != nil {
		return err
	}
	n := 0
	count := func(overlay.Deviation) error { n++; return nil }
	switch what {
	case "marks":
		err = layers.Marks(context.Background(), nil, func(overlay.Mark) error { n++; return nil })
	case "diff":
		err = layers.Diff(context.Background(), overlay.DiffOptions{}, count)
	case "diff-all":
		err = layers.Diff(context.Background(), overlay.DiffOptions{Kinds: overlay.AllKinds}, count)
	default:
		err = fs.ErrInvalid
	}
	if err == nil && n == 0 {
		err = errors.New("nothing was found")
	}
	return errors.Join(err, layers.Close())
}
