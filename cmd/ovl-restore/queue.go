// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/pkglist"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

const queueHelp = `Ask for files of the image to be brought back by the next ovl-restore reconcile,
at the next boot as a rule. It is for update tools and package managers: a
package that the user removes leaves whiteouts over what the image ships.

The hook of a package manager names the package alone: its files are asked for on
each overlay that they lie on. A package that neither dpkg nor opkg has a list of,
installed or in the image, has left no whiteout: that is said, and no failure.

Only whiteouts are removed; a file of the user in that place stays. A package is
looked up when it is time, in the lists of the image that runs then. The request
survives power cuts, and is forgotten when it was fulfilled.

Exit status:
  0  queued, or nothing to queue
  1  it failed
  2  the command line was not understood`

const queueExample = `  # after opkg remove lighttpd php
  ovl-restore queue --package lighttpd --package php`

func newQueue(out *printer) *cobra.Command {
	var (
		pkgs []string
		wait bool
	)
	cmd := &cobra.Command{
		Use:     "queue [flags] [MNT] [PATH…]",
		Short:   "Ask for files to be brought back at the next boot",
		Long:    queueHelp,
		Example: queueExample,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(pkgs) > 0:
				return nil
			case len(args) == 0:
				return errNoMount
			case len(args) == 1:
				return errNothingQueued
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return printed(out, queuePackages(cmd.Context(), out, pkgs, wait))
			}
			return printed(out, runQueue(cmd.Context(), out, args, pkgs, wait))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&pkgs, "package", nil, "the files of the dpkg or opkg package `NAME`; may be repeated")
	flags.BoolVar(&wait, "wait", false, "wait for another ovl-restore that is changing the overlay")
	return cmd
}

var errNothingQueued = errors.New("what is to be restored? give a PATH or --package")

func runQueue(ctx context.Context, out *printer, args, pkgs []string, wait bool) (err error) {
	o, err := openOverlay(args[0], overlay.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	paths, err := absolute(args[1:])
	if err != nil {
		return err
	}
	rels := make([]string, len(paths))
	for i, path := range paths {
		if rels[i], err = o.Rel(path); err != nil {
			out.failure(path, err)
			return &failedError{}
		}
	}
	return reconcile.Enqueue(&reconcile.Target{Overlay: o, Mount: o.Mount.Point}, rels, pkgs, storeOpener(ctx, out, wait))
}

// queuePackages asks for the files of packages on each overlay that they lie on.
// What fails is said, and does not stop the others.
func queuePackages(ctx context.Context, out *printer, pkgs []string, wait bool) error {
	conf, err := config.Load(config.Default)
	if err != nil {
		return err
	}
	files := make([][]string, len(pkgs))
	failed := 0
	for i, pkg := range pkgs {
		files[i], err = pkglist.Files(pkg, nil)
		switch {
		case errors.Is(err, pkglist.ErrUnknown):
			out.note(err.Error())
		case err != nil:
			return err
		}
	}
	overlays, err := choose(nil, false)
	if err != nil {
		return err
	}
	for _, c := range overlays {
		if c.Config.Upper.IsZero() || slices.Contains(conf.Reconcile.Exclude, c.Point) {
			continue
		}
		failed += out.failedOn(c.name(), queueOn(ctx, out, c, pkgs, files, wait))
	}
	return ended(failed, nil)
}

func queueOn(ctx context.Context, out *printer, c chosen, pkgs []string, files [][]string, wait bool) (err error) {
	var o *overlay.Overlay // opened when something may lie on it
	defer func() {
		if o != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	var here []string
	for i, pkg := range pkgs {
		for _, path := range files[i] {
			if !mayBeOn(c.Point, path) {
				continue
			}
			if o == nil {
				if o, err = c.open(); err != nil {
					return err
				}
			}
			if _, err := o.Rel(path); err == nil {
				here = append(here, pkg)
				break
			}
		}
	}
	if len(here) == 0 {
		return nil
	}
	return reconcile.Enqueue(&reconcile.Target{Overlay: o, Mount: o.Mount.Point}, nil, here, storeOpener(ctx, out, wait))
}
