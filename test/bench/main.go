// SPDX-License-Identifier: Apache-2.0

// Command bench measures, in one run, what it costs to bring deleted files back:
//
//   - by the ioctl,
//   - by removing each whiteout from the upper and remounting, file by file, as
//     scripts do,
//   - by ovl-restore's remount method, with one flush for the batch,
//
// while many other names are cached, and what the walk of the tree costs
// afterwards: a flush throws the whole dentry cache away, the ioctl does not.
// Times are of the machine it runs on, by habit an emulated one; the ratios are
// what to read.
//
// It needs root and a private mount name space: make bench runs it in a virtual
// machine with the patched kernel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

func main() {
	tool := flag.String("tool", "ovl-restore", "the `binary` whose start is measured")
	flag.Parse()
	if err := run(*tool); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(tool string) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("ask for the kernel's release: %w", err)
	}
	fmt.Printf("Linux %s\n\n", unix.ByteSliceToString(uts.Release[:]))
	for _, whiteouts := range []int{1, 1000} {
		for _, cached := range []int{1000, 50000} {
			if err := compare(whiteouts, cached); err != nil {
				return fmt.Errorf("%d whiteouts with %d cached names: %w", whiteouts, cached, err)
			}
		}
	}
	return start(tool)
}

// way is one way to bring files back.
type way struct {
	name    string
	restore func(d *device, paths []string) error
}

var ways = []way{
	{"ioctl", restoreBy(overlay.MethodIoctl)},
	{"ioctl, unverified", bareIoctl},
	{"remount, batched", restoreBy(overlay.MethodRemount)},
	{"remount per file", removeAndRemount},
}

// measured is what one way cost.
type measured struct{ restore, walk time.Duration }

func compare(whiteouts, cached int) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "%d to bring back, %d others cached\tall\teach\tratio\twalk after\tto a warm walk\n", whiteouts, cached)
	var base time.Duration
	for _, w := range ways {
		m, warm, err := measure(w, whiteouts, cached)
		if errors.Is(err, unix.ENOTTY) {
			fmt.Fprintf(out, "%s\tthis kernel has no ioctl\n", w.name)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if base == 0 {
			base = m.restore
		}
		fmt.Fprintf(out, "%s\t%v\t%v\t%.1f\t%v\t%.1f\n", w.name,
			round(m.restore), round(m.restore/time.Duration(whiteouts)), ratio(m.restore, base),
			round(m.walk), ratio(m.walk, warm))
	}
	fmt.Fprintln(out)
	return out.Flush()
}

func round(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// measure deletes files, caches other names, and brings the files back one way.
// What is over in a moment is measured three times, and the least counts.
func measure(w way, whiteouts, cached int) (least measured, warm time.Duration, err error) {
	d, err := newDevice(whiteouts, cached)
	if err != nil {
		return least, 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	rounds := 1
	if whiteouts == 1 {
		rounds = 3
	}
	for round := range rounds {
		m, walked, err := d.measure(w)
		if err != nil {
			return least, 0, err
		}
		if round == 0 {
			least, warm = m, walked
			continue
		}
		least.restore, least.walk = min(least.restore, m.restore), min(least.walk, m.walk)
		warm = min(warm, walked)
	}
	return least, warm, nil
}

func (d *device) measure(w way) (m measured, warm time.Duration, err error) {
	paths, err := d.deleteFiles()
	if err != nil {
		return m, 0, err
	}
	if _, err := d.walk(); err != nil { // fills the cache
		return m, 0, err
	}
	if warm, err = d.walk(); err != nil {
		return m, 0, err
	}
	begin := time.Now()
	if err := w.restore(d, paths); err != nil {
		return m, 0, err
	}
	m.restore = time.Since(begin)
	if m.walk, err = d.walk(); err != nil {
		return m, 0, err
	}
	return m, warm, d.check(paths)
}

func restoreBy(method overlay.Method) func(*device, []string) error {
	return func(d *device, paths []string) (err error) {
		o, err := overlay.Open(d.merged, overlay.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.Close()) }()
		for _, r := range o.Restore(context.Background(), paths, overlay.RestoreOptions{Method: method}) {
			if r.Err != nil {
				return fmt.Errorf("%s: %w", r.Path, r.Err)
			}
		}
		return nil
	}
}

// bareIoctl is the system call alone.
func bareIoctl(d *device, paths []string) (err error) {
	dir, err := os.Open(d.merged)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	mount := ioctl.NewMount(dir)
	for _, path := range paths {
		if err := mount.RestoreLower(path, 0); err != nil {
			return err
		}
	}
	return nil
}

// removeAndRemount is what a shell script does: rm in the upper, mount -o
// remount, for each file.
func removeAndRemount(d *device, paths []string) error {
	for _, path := range paths {
		rel, err := filepath.Rel(d.merged, path)
		if err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(d.upper, rel)); err != nil {
			return err
		}
		if err := unix.Mount("", d.merged, "", unix.MS_REMOUNT, ""); err != nil {
			return fmt.Errorf("remount: %w", err)
		}
	}
	return nil
}

// start measures how long the tool takes to start and end.
func start(tool string) error {
	const runs = 100
	begin := time.Now()
	for range runs {
		if err := exec.Command(tool, "--version").Run(); err != nil {
			return fmt.Errorf("start %s: %w", tool, err)
		}
	}
	fmt.Printf("start of the tool: %v (mean of %s runs of --version)\n",
		round(time.Since(begin)/runs), strconv.Itoa(runs))
	return nil
}
