// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

const resolveHelp = `End a conflict that ovl-restore reconcile has kept both ways: PATH is the user's,
and PATH.ovl-new is what the image has. With --keep the user's stays, with --image
the image's shows; PATH.ovl-new goes. What goes is kept as a backup.

To take something of both, edit PATH and then --keep it. ovl-restore status lists
what is still to be resolved.

Exit status:
  0  all done
  1  something failed; each failure is on its own line
  2  the command line was not understood`

// resolveFlags are the flags of resolve.
type resolveFlags struct {
	keep, image, wait, json, quiet bool
	method                         string
}

func newResolve(out *printer) *cobra.Command {
	var f resolveFlags
	cmd := &cobra.Command{
		Use:   "resolve [flags] (--keep | --image) PATH…",
		Short: "Decide between a file of the user and the image's, NAME.ovl-new",
		Long:  resolveHelp,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json, out.quiet = f.json, f.quiet
			return printed(out, runResolve(cmd.Context(), out, &f, args))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.keep, "keep", false, "the user's stays")
	flags.BoolVar(&f.image, "image", false, "the image's shows")
	flags.StringVar(&f.method, "method", string(overlay.MethodAuto), "how: auto, ioctl or remount")
	flags.BoolVar(&f.wait, "wait", false, "wait for another ovl-restore that is changing the overlay")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print failures only")
	cmd.MarkFlagsMutuallyExclusive("keep", "image")
	cmd.MarkFlagsOneRequired("keep", "image")
	return cmd
}

func runResolve(ctx context.Context, out *printer, f *resolveFlags, args []string) error {
	method, err := restoreFlags{method: f.method}.parseMethod()
	if err != nil {
		return err
	}
	paths, err := absolute(args)
	if err != nil {
		return err
	}
	failed := false
	for _, path := range paths {
		results, err := resolve(ctx, path, f.image, reconcile.RunOptions{Method: method, Open: storeOpener(ctx, out, f.wait)})
		for i := range results {
			r := &results[i]
			switch {
			case r.Err != nil:
				out.failure(r.Path, r.Err)
				failed = true
			case out.json:
				out.object(newJSONDecision(r))
			case !out.quiet:
				out.line(decisionLine(r))
			}
		}
		if err != nil {
			out.failure(path, err)
			failed = true
		}
	}
	if failed {
		return &failedError{}
	}
	return nil
}

func resolve(ctx context.Context, path string, useImage bool, opts reconcile.RunOptions) (_ []reconcile.Result, err error) {
	o, err := openOverlay(filepath.Dir(path), overlay.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	rel, err := o.Rel(path)
	if err != nil {
		return nil, err
	}
	return reconcile.Resolve(ctx, &reconcile.Target{Overlay: o, Mount: o.Mount.Point}, rel, useImage, opts)
}
