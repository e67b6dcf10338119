// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// noMountError: MNT does not exist.
type noMountError struct {
	error
	overlays []overlay.Mount
}

func (e *noMountError) Unwrap() error { return e.error }

// openOverlay opens the overlay at MNT. Somebody who mistyped it is told which
// there are.
func openOverlay(mnt string, opts overlay.Options) (*overlay.Overlay, error) {
	o, err := overlay.Open(mnt, opts)
	return o, wrongMount(err)
}

func wrongMount(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		if mounts, listErr := overlay.Mounts(); listErr == nil {
			return &noMountError{err, mounts}
		}
	}
	return err
}

// misplacedError: the path lies elsewhere, but a hidden entry would answer to it
// if it were taken from MNT on.
type misplacedError struct {
	error
	instead string
}

func (e *misplacedError) Unwrap() error { return e.error }

// errMountPoint: the path is MNT itself.
var errMountPoint = fmt.Errorf("it is the mount point, which no whiteout hides: %w", unix.EXDEV)

// misplaced looks, after a path failed, for what may have been meant: relative
// paths start at the working directory, which some expect to be MNT.
func misplaced(o *overlay.Overlay, path string, err error) error {
	if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if path == o.Mount.Point {
		return errMountPoint
	}
	candidates := []string{path}
	if wd, wdErr := os.Getwd(); wdErr == nil {
		if rest, ok := strings.CutPrefix(path, strings.TrimSuffix(wd, "/")+"/"); ok {
			candidates = append(candidates, "/"+rest)
		}
	}
	for _, candidate := range candidates {
		instead := strings.TrimSuffix(o.Mount.Point, "/") + candidate
		if st, stErr := o.State(instead); stErr == nil && st.State == ioctl.StateWhiteout && instead != path {
			return &misplacedError{err, instead}
		}
	}
	return err
}
