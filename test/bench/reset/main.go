// SPDX-License-Identifier: Apache-2.0

// Command reset measures how long a factory reset keeps a boot waiting: perform,
// for an upper with ten entries and for one with a million; and how long the
// clean-up after it takes, and how much memory. Nothing is mounted for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/reset"
)

func main() {
	many := flag.Int("entries", 1_000_000, "`number` of entries of the large upper")
	dir := flag.String("dir", "", "make the uppers in this `directory`; by default where temporary files are")
	runs := flag.Int("runs", 5, "`number` of runs with the small upper, of which the middle one counts")
	flag.Parse()
	if err := run(*dir, *many, *runs); err != nil {
		fmt.Fprintf(os.Stderr, "reset: %v\n", err)
		os.Exit(1)
	}
}

func run(dir string, many, runs int) (err error) {
	if dir, err = os.MkdirTemp(dir, "ovl-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	few, err := measure(filepath.Join(dir, "few"), 10, runs)
	if err != nil {
		return err
	}
	fmt.Printf("perform of %7d entries: %6.2f ms (%.2f to %.2f)\n", 10, ms(few[runs/2]), ms(few[0]), ms(few[runs-1]))
	of, err := measure(filepath.Join(dir, "many"), many, runs)
	if err != nil {
		return err
	}
	fmt.Printf("perform of %7d entries: %6.2f ms (%.2f to %.2f), %.2f times that\n", many, ms(of[runs/2]), ms(of[0]), ms(of[runs-1]),
		float64(of[runs/2])/float64(few[runs/2]))
	return cleanup(filepath.Join(dir, "many"))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func open(dir string) (*reset.Place, error) {
	return reset.Open(reset.Overlay{
		Lowers: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
	})
}

// measure resets an upper with so many entries, several times, and returns how
// long that took, the shortest first.
func measure(dir string, entries, runs int) (all []time.Duration, err error) {
	if err := fill(dir, entries); err != nil {
		return nil, err
	}
	p, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for n := range runs {
		if n > 0 {
			if err := putBack(dir); err != nil {
				return nil, err
			}
		}
		if err := reset.Request([]*reset.Place{p}, &reset.Order{By: "bench", Keep: []string{"/etc/kept"}}); err != nil {
			return nil, err
		}
		syscall.Sync() // what was written is not the reset's
		began := time.Now()
		out, err := reset.Perform([]*reset.Place{p}, reset.PerformOptions{})
		all = append(all, time.Since(began))
		if err == nil && (len(out.Done) != 1 || out.Kept != 1) {
			err = fmt.Errorf("%+v", out)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return all, nil
}

// fill makes the overlay's directories, and entries in the upper.
func fill(dir string, entries int) error {
	for _, name := range []string{"lower/etc", "upper/etc", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	at := ""
	for n := range entries {
		if n%100 == 0 {
			at = filepath.Join(dir, "upper", strconv.Itoa(n/10_000), strconv.Itoa(n))
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(at, strconv.Itoa(n)), nil, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "upper/etc/kept"), []byte("kept\n"), 0o600)
}

// putBack makes an upper of what a reset has replaced.
func putBack(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "upper"+reset.Suffix, "old/*/0"))
	if err != nil || len(old) != 1 {
		return fmt.Errorf("what was replaced: %q, %w", old, err)
	}
	if err := os.Rename(filepath.Join(dir, "upper"), filepath.Join(filepath.Dir(filepath.Dir(old[0])), "fresh"+strconv.FormatInt(time.Now().UnixNano(), 36))); err != nil {
		return err
	}
	return os.Rename(filepath.Dir(old[0]), filepath.Join(dir, "upper"))
}

func cleanup(dir string) (err error) {
	p, err := open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	began := time.Now()
	c, err := reset.Cleanup(context.Background(), []*reset.Place{p}, reset.CleanupOptions{})
	if err != nil {
		return err
	}
	took := time.Since(began)
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return err
	}
	fmt.Printf("clean-up of %d entries: %.1f s; the process took %d MiB at most\n", c.Removed, took.Seconds(), use.Maxrss>>10)
	return nil
}
