// SPDX-License-Identifier: Apache-2.0

// Command reconcile measures, in one run, what it costs to fit an upper to a new
// image: where there is nothing to do, to plan for 10,000 deviations, and to drop
// 1,000 copies by each method, each against find over the same upper. Everything
// is in the caches, and each figure is the best of several.
//
// It mounts overlays in a private mount name space, and needs root for it.
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
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

func main() {
	deviations := flag.Int("deviations", 10000, "`number` of deviations to plan for")
	drops := flag.Int("drops", 1000, "`number` of copies to drop")
	inside := flag.Bool("inside", false, "this is in the private mount name space; for the command's own use")
	flag.Parse()
	var err error
	if *inside {
		err = run(*deviations, *drops)
	} else {
		cmd := exec.Command("/proc/self/exe", append([]string{"-inside"}, os.Args[1:]...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "reconcile: %v\n", err)
		os.Exit(1)
	}
}

func run(deviations, drops int) (err error) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	if err := plan(out, deviations); err != nil {
		return err
	}
	for _, method := range []overlay.Method{overlay.MethodRemount, overlay.MethodIoctl} {
		if err := apply(out, drops, method); err != nil {
			return err
		}
	}
	return out.Flush()
}

// device is an overlay with n copies in the upper, half of them edited.
type device struct{ dir, merged string }

func newDevice(n int, stale bool) (_ *device, err error) {
	d := &device{dir: "/tmp"}
	if err := unix.Mount("bench", d.dir, "tmpfs", 0, "nr_inodes=0"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs: %w", err)
	}
	d.merged = filepath.Join(d.dir, "merged")
	for _, name := range []string{"1/usr/lib", "2/usr/lib", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(d.dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	for _, version := range []string{"1", "2"} {
		root := filepath.Join(d.dir, version)
		if err := os.WriteFile(filepath.Join(root, "usr/lib/os-release"), []byte("IMAGE_VERSION="+version+"\n"), 0o644); err != nil {
			return nil, err
		}
		if err := d.files(root, n, func(i int) string { return "file " + strconv.Itoa(i) + " of image " + version }); err != nil {
			return nil, err
		}
	}
	err = d.mount("1")
	if err == nil {
		err = d.files(d.merged, n, func(i int) string {
			if stale || i%2 == 0 {
				return "file " + strconv.Itoa(i) + " of image 1"
			}
			return "mine"
		})
	}
	if err == nil {
		_, err = d.with(func(t *reconcile.Target) error {
			_, err := reconcile.Record(context.Background(), t, open)
			return err
		})
	}
	return d, err
}

// files writes n files, 100 in a directory.
func (d *device) files(root string, n int, content func(int) string) error {
	for i := range n {
		dir := filepath.Join(root, "var", strconv.Itoa(i/100))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), []byte(content(i)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (d *device) mount(version string) error {
	options := fmt.Sprintf("lowerdir=%s/%s,upperdir=%s/upper,workdir=%s/work", d.dir, version, d.dir, d.dir)
	return unix.Mount("overlay", d.merged, "overlay", 0, options)
}

func (d *device) close() error {
	return errors.Join(unix.Unmount(d.merged, 0), unix.Unmount(d.dir, unix.MNT_DETACH))
}

func open(upper *overlay.Layer) (*journal.Store, error) {
	return journal.Open(upper.Root(), upper.Where)
}

// with opens the overlay, does something, and says how long that took.
func (d *device) with(do func(*reconcile.Target) error) (time.Duration, error) {
	begin := time.Now()
	o, err := overlay.Open(d.merged, overlay.Options{})
	if err != nil {
		return 0, err
	}
	t := &reconcile.Target{Overlay: o, Mount: "/"}
	err = errors.Join(do(t), t.Close())
	return time.Since(begin), err
}

func (d *device) reconcile(method overlay.Method, dry bool, want reconcile.Outcome, changed int) (time.Duration, error) {
	policy, err := reconcile.LoadPolicy(config.Dirs{})
	if err != nil {
		return 0, err
	}
	return d.with(func(t *reconcile.Target) error {
		report, err := reconcile.Run(context.Background(), t, reconcile.RunOptions{Policy: policy, Method: method, DryRun: dry, Open: open})
		if err != nil {
			return err
		}
		n := 0
		for i := range report.Results {
			switch report.Results[i].Status {
			case overlay.StatusDone, overlay.StatusPlanned:
				n++
			case overlay.StatusFailed, overlay.StatusBusy:
				return report.Results[i].Err
			default:
			}
		}
		if report.Outcome != want || n != changed {
			return fmt.Errorf("%s, %d entries changed; want %s, %d", report.Outcome, n, want, changed)
		}
		return nil
	})
}

func (d *device) find() (time.Duration, error) {
	begin := time.Now()
	err := exec.Command("find", filepath.Join(d.dir, "upper"), "-size", "+1000c").Run()
	return time.Since(begin), err
}

// best is the shortest of several.
func best(do func() (time.Duration, error)) (time.Duration, error) {
	var shortest time.Duration
	for i := range 6 {
		took, err := do()
		if err != nil {
			return 0, err
		}
		if i <= 1 || took < shortest {
			shortest = took
		}
	}
	return shortest, nil
}

func plan(out *tabwriter.Writer, n int) (err error) {
	d, err := newDevice(n, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	find, err := best(d.find)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d deviations\ttime\tto find\n", n)
	line(out, "find UPPER -size +1000c", find, find)
	same, err := best(func() (time.Duration, error) { return d.reconcile("", false, reconcile.Unchanged, 0) })
	if err != nil {
		return err
	}
	line(out, "nothing to do", same, find)
	record, err := best(func() (time.Duration, error) {
		return d.with(func(t *reconcile.Target) error {
			_, err := reconcile.Record(context.Background(), t, open)
			return err
		})
	})
	if err != nil {
		return err
	}
	line(out, "baseline, what is known not read again", record, find)
	if err := errors.Join(unix.Unmount(d.merged, 0), d.mount("2")); err != nil {
		return err
	}
	planned, err := best(func() (time.Duration, error) { return d.reconcile("", true, reconcile.Planned, n/2) })
	if err != nil {
		return err
	}
	line(out, "plan (--dry-run), half of them stale", planned, find)
	fmt.Fprintln(out)
	return nil
}

func apply(out *tabwriter.Writer, n int, method overlay.Method) error {
	var find time.Duration
	took, err := best(func() (took time.Duration, err error) {
		d, err := newDevice(n, true)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		if find, err = best(d.find); err != nil {
			return 0, err
		}
		if err := errors.Join(unix.Unmount(d.merged, 0), d.mount("2")); err != nil {
			return 0, err
		}
		return d.reconcile(method, false, reconcile.Reconciled, n)
	})
	fmt.Fprintf(out, "%d drops\ttime\tto find\n", n)
	if errors.Is(err, unix.ENOTTY) {
		fmt.Fprintf(out, "reconcile --method %s\tthis kernel has no ioctl\n", method)
		return nil
	}
	if err != nil {
		return err
	}
	line(out, "find UPPER -size +1000c", find, find)
	line(out, "reconcile --method "+string(method), took, find)
	fmt.Fprintln(out)
	return nil
}

func line(out *tabwriter.Writer, name string, took, find time.Duration) {
	fmt.Fprintf(out, "%s\t%v\t%.2f\n", name, took.Round(10*time.Microsecond), float64(took)/float64(find))
}
