// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

const queueHelp = `Ask for files of the image to be brought back by the next ovl-restore reconcile,
at the next boot as a rule. It is for update tools and package managers: a
package that the user removes leaves whiteouts over what a later image ships.

Only whiteouts are removed; a file of the user in that place stays. A package is
looked up when it is time, in the lists of the image that runs then. The request
survives power cuts, and is forgotten when it was fulfilled.

Exit status:
  0  queued
  1  it failed
  2  the command line was not understood`

func newQueue(out *printer) *cobra.Command {
	var (
		pkg  string
		wait bool
	)
	cmd := &cobra.Command{
		Use:   "queue [flags] MNT [PATH…]",
		Short: "Ask for files to be brought back at the next boot",
		Long:  queueHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errNoMount
			}
			if len(args) == 1 && pkg == "" {
				return errNothingQueued
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return printed(out, runQueue(cmd.Context(), out, args, pkg, wait))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&pkg, "package", "", "the files of the dpkg or opkg package `NAME`")
	flags.BoolVar(&wait, "wait", false, "wait for another ovl-restore that is changing the overlay")
	return cmd
}

var errNothingQueued = errors.New("what is to be restored? give a PATH or --package")

func runQueue(ctx context.Context, out *printer, args []string, pkg string, wait bool) (err error) {
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
	return reconcile.Enqueue(&reconcile.Target{Overlay: o, Mount: o.Mount.Point}, rels, pkg, storeOpener(ctx, out, wait))
}
