// SPDX-License-Identifier: Apache-2.0

// Command powercut works on an overlay on a disk until the guest's power is
// cut, and in the next guest looks at what is left:
//
//	powercut work    removes, restores and discards, until it is killed
//	powercut check K asserts that every name has its upper entry or shows the
//	                 lower one, and that the first K durable ones do the latter
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

const (
	device  = "/dev/vda"
	disk    = "/disk"
	merged  = "/merged"
	names   = 300
	durable = 2000
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "powercut: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := mount()
	if err != nil {
		return err
	}
	m := ioctl.NewMount(dir)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "work":
		return work(dir, m)
	case len(os.Args) == 3 && os.Args[1] == "check":
		synced, err := strconv.Atoi(os.Args[2])
		if err != nil {
			return err
		}
		return check(m, synced)
	default:
		return errors.New("usage: powercut work | check K")
	}
}

func mount() (*os.File, error) {
	for _, dir := range []string{disk, merged} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := unix.Mount(device, disk, "ext4", 0, ""); err != nil {
		return nil, fmt.Errorf("mount %s: %w", device, err)
	}
	if err := fill(); err != nil {
		return nil, err
	}
	options := "lowerdir=" + disk + "/lower,upperdir=" + disk + "/upper,workdir=" + disk + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return nil, fmt.Errorf("mount the overlay: %w", err)
	}
	return os.OpenFile(merged, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// fill makes the layers, once.
func fill() error {
	if _, err := os.Stat(disk + "/lower"); err == nil {
		return nil
	}
	for _, dir := range []string{"new", "upper", "work"} {
		if err := os.Mkdir(disk+"/"+dir, 0o755); err != nil {
			return err
		}
	}
	for i := range names {
		if err := os.WriteFile(disk+"/new/"+name(i), []byte("lower "+name(i)), 0o644); err != nil {
			return err
		}
	}
	for i := range durable {
		if err := os.WriteFile(disk+"/new/"+durableName(i), []byte("lower "+durableName(i)), 0o644); err != nil {
			return err
		}
	}
	unix.Sync()
	err := os.Rename(disk+"/new", disk+"/lower")
	unix.Sync()
	return err
}

func name(i int) string        { return fmt.Sprintf("name-%03d", i) }
func durableName(i int) string { return fmt.Sprintf("durable-%04d", i) }

// work prints a line for each name that it has restored for good.
func work(dir *os.File, m *ioctl.Mount) error {
	for k := range durable {
		for range 5 {
			if err := step(m, filepath.Join(merged, name(rand.IntN(names)))); err != nil {
				return err
			}
		}
		path := filepath.Join(merged, durableName(k))
		if err := os.Remove(path); err != nil {
			return err
		}
		if k%2 == 0 { // or else whiteout and restore are in one journal transaction
			if err := dir.Sync(); err != nil {
				return err
			}
		}
		if err := m.RestoreLower(path, 0); err != nil {
			return err
		}
		if err := dir.Sync(); err != nil {
			return err
		}
		fmt.Println("durable")
	}
	return nil
}

func step(m *ioctl.Mount, path string) error {
	var err error
	switch rand.IntN(4) {
	case 0:
		err = os.Remove(path)
	case 1:
		err = os.WriteFile(path, bytes.Repeat([]byte("upper "), rand.IntN(2000)), 0o644)
	default:
		err = m.RestoreLower(path, ioctl.DiscardUpper)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func check(m *ioctl.Mount, synced int) error {
	var errs []error
	counts := map[ioctl.State]int{}
	for i := range names {
		state, err := checkName(m, name(i))
		counts[state]++
		errs = append(errs, err)
	}
	for i := range durable {
		state, err := checkName(m, durableName(i))
		errs = append(errs, err)
		if i < synced && state != ioctl.StateNone {
			errs = append(errs, fmt.Errorf("%s was restored for good and is %s", durableName(i), state))
		}
	}
	fmt.Printf("%d shown, %d whiteouts, %d upper\n", counts[ioctl.StateNone], counts[ioctl.StateWhiteout], counts[ioctl.StateUpper])
	return errors.Join(errs...)
}

// checkName returns what the power cut left, and makes it the lower file.
func checkName(m *ioctl.Mount, name string) (ioctl.State, error) {
	path := filepath.Join(merged, name)
	state, err := m.UpperState(path)
	if err != nil {
		return 0, err
	}
	_, err = os.Lstat(path)
	if hidden := errors.Is(err, fs.ErrNotExist); hidden != (state.State == ioctl.StateWhiteout) {
		return state.State, fmt.Errorf("%s: state %s, but lstat: %w", name, state.State, err)
	}
	if state.State != ioctl.StateNone {
		if err := m.RestoreLower(path, ioctl.DiscardUpper); err != nil {
			return state.State, err
		}
	}
	b, err := os.ReadFile(path)
	if err == nil && string(b) != "lower "+name {
		err = fmt.Errorf("%s holds %.40q", name, b)
	}
	return state.State, err
}
