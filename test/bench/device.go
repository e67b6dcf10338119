// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// device is a throw-away overlay.
type device struct {
	dir, upper, merged string
	whiteouts          int
}

// namesPerDir is how the cached names are spread.
const namesPerDir = 100

// newDevice mounts an overlay whose lower has a directory of files to delete and
// many other files.
func newDevice(whiteouts, others int) (*device, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	d := &device{
		dir: dir, upper: filepath.Join(dir, "upper"), merged: filepath.Join(dir, "merged"),
		whiteouts: whiteouts,
	}
	if err := unix.Mount("bench", dir, "tmpfs", 0, "nr_inodes=0"); err != nil {
		return nil, fmt.Errorf("mount a tmpfs: %w", err)
	}
	for _, name := range []string{"lower/deleted", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	for i := range whiteouts {
		if err := os.WriteFile(filepath.Join(dir, "lower/deleted", deletedName(i)), nil, 0o644); err != nil {
			return nil, err
		}
	}
	for i := range others {
		parent := filepath.Join(dir, "lower", fmt.Sprintf("dir%d", i/namesPerDir))
		if i%namesPerDir == 0 {
			if err := os.Mkdir(parent, 0o755); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(parent, fmt.Sprintf("file%d", i)), nil, 0o644); err != nil {
			return nil, err
		}
	}
	options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s,workdir=%s/work", dir, d.upper, dir)
	if err := unix.Mount("overlay", d.merged, "overlay", 0, options); err != nil {
		return nil, fmt.Errorf("mount an overlay: %w", err)
	}
	return d, nil
}

func deletedName(i int) string { return fmt.Sprintf("deleted%d", i) }

func (d *device) close() error {
	return errors.Join(unix.Unmount(d.merged, 0), unix.Unmount(d.dir, 0), os.Remove(d.dir))
}

// deleteFiles deletes the files through the overlay and returns their paths.
func (d *device) deleteFiles() ([]string, error) {
	paths := make([]string, d.whiteouts)
	for i := range paths {
		paths[i] = filepath.Join(d.merged, "deleted", deletedName(i))
		if err := os.Remove(paths[i]); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// walk stats every name of the merged tree.
func (d *device) walk() (time.Duration, error) {
	begin := time.Now()
	err := filepath.WalkDir(d.merged, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			_, err = e.Info()
		}
		return err
	})
	return time.Since(begin), err
}

// check makes sure that what was measured was also done.
func (d *device) check(paths []string) error {
	for _, path := range paths {
		if _, err := os.Lstat(path); err != nil {
			return fmt.Errorf("not brought back: %w", err)
		}
	}
	return nil
}
