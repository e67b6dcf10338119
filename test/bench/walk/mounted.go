// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// check is ovl-restore check of the layers. The trees have no fault.
func check(dir string) error {
	u, err := overlay.OpenUnmounted(overlay.Directories{
		Upper: filepath.Join(dir, "upper"), Lowers: []string{filepath.Join(dir, "lower")},
	}, overlay.LayerOptions{})
	if err != nil {
		return err
	}
	findings, err := u.Check(context.Background(), overlay.CheckOptions{})
	if err == nil && len(findings) > 0 {
		err = fmt.Errorf("found %+v", findings[0])
	}
	return errors.Join(err, u.Close())
}

// mounted mounts the overlay, in a mount name space that the process was started
// in.
func mounted(dir string) (*overlay.Overlay, error) {
	merged, work := filepath.Join(dir, "merged"), filepath.Join(dir, "work")
	if err := errors.Join(os.MkdirAll(merged, 0o755), os.MkdirAll(work, 0o755)); err != nil {
		return nil, err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make the mounts private: %w", err)
	}
	options := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s", dir, dir, work)
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return nil, fmt.Errorf("mount an overlay: %w", err)
	}
	return overlay.Open(merged, overlay.Options{})
}

// status is what ovl-restore status has to count.
func status(dir string) error {
	o, err := mounted(dir)
	if err != nil {
		return err
	}
	s := o.Overview(context.Background(), nil)
	if s.Counts == nil || s.Counts[overlay.Deleted] == 0 {
		err = errors.Join(errors.New("nothing was counted"), s.CountErr)
	}
	return errors.Join(err, o.Close())
}

// restore is ovl-restore --recursive --dry-run.
func restore(dir string) error {
	o, err := mounted(dir)
	if err != nil {
		return err
	}
	planned := 0
	opts := overlay.RestoreOptions{Recursive: true, DryRun: true}
	o.RestoreEach(context.Background(), []string{o.Mount.Point}, opts, func(r overlay.Result) {
		if r.Status == overlay.StatusPlanned {
			planned++
		}
		err = errors.Join(err, r.Err)
	})
	if planned == 0 && err == nil {
		err = errors.New("nothing was planned")
	}
	return errors.Join(err, o.Close())
}
