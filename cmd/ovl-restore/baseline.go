// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

const baselineHelp = `Record what the image has for each entry that the user changed: of each overlay,
or of those of MNT. With the next image, ovl-restore reconcile tells from this
record a stale copy from an edit.

It is taken before the update, while the old image runs: by the hooks of update
tools, and at shutdown. Nothing is recorded on an image that the upper was not
fitted to yet, for what its entries were made on would be forgotten.

Exit status:
  0  recorded
  1  something was not; each failure is on its own line
  2  the command line was not understood`

func newBaseline(out *printer) *cobra.Command {
	var f targetFlags
	cmd := &cobra.Command{
		Use:   "baseline [flags] [MNT…]",
		Short: "Record what the image has, before an update replaces it",
		Long:  baselineHelp,
		Args: func(_ *cobra.Command, args []string) error {
			return f.validate(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json, out.quiet = f.json, f.quiet
			conf, err := config.Load(config.Default)
			if err != nil {
				return printed(out, err)
			}
			ctx := cmd.Context()
			return printed(out, ended(f.each(ctx, out, conf, args, func(t *reconcile.Target) error {
				recorded, err := reconcile.Record(ctx, t, storeOpener(ctx, out, f.wait))
				switch {
				case err != nil:
					return err
				case out.json:
					out.object(jsonBaseline{newJSONPath(t.Mount), "done", recorded.Image, recorded.Entries, recorded.Manifest})
				case !out.quiet:
					line := quotePath(t.Mount) + ": recorded " + plural(recorded.Entries, "entry", "entries") + " of " + quotePath(recorded.Image)
					if recorded.Manifest {
						line += ", with its manifest"
					}
					out.line(line)
				}
				if recorded.NoManifest != nil {
					out.note(recorded.NoManifest.Error())
				}
				return nil
			})))
		},
	}
	cmd.Flags().SortFlags = false
	f.add(cmd)
	return cmd
}

// jsonBaseline is an object of baseline: one overlay.
type jsonBaseline struct {
	jsonPath        // the mount point
	Status   string `json:"status"` // done
	Image    string `json:"image"`
	Entries  int    `json:"entries"`
	Manifest bool   `json:"manifest,omitempty"` // the image's own record is in the store, too
}

// plural is a number of things.
func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}
