// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

// targetFlags say which overlays reconcile and baseline are about.
type targetFlags struct {
	all       bool
	lower     string
	upper     string
	work      string
	userxattr bool
	wait      bool
	json      bool
	quiet     bool
}

func (f *targetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "also those of container runtimes")
	flags.StringVar(&f.lower, "lower", "", "of an overlay that is not mounted yet: `LOWER[:LOWER…]`, topmost first")
	flags.StringVar(&f.upper, "upper", "", "its upper directory `DIR`")
	flags.StringVar(&f.work, "work", "", "its work directory `DIR`")
	flags.BoolVar(&f.userxattr, "userxattr", false, "it will be mounted with userxattr")
	flags.BoolVar(&f.wait, "wait", false, "wait for another ovl-restore that is changing the overlay")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print failures only")
	cmd.ValidArgsFunction = completeMounts
}

var errOfflineMount = errors.New("with --lower and --upper, give the one MNT where the overlay will be mounted")

func (f *targetFlags) validate(args []string) error {
	switch {
	case (f.lower == "") != (f.upper == ""):
		return errHalfOffline
	case f.upper != "" && (len(args) != 1 || f.all):
		return errOfflineMount
	case f.upper == "" && (f.work != "" || f.userxattr):
		return errOfOffline
	}
	return nil
}

// each calls do for each overlay. One that fails is said, and does not stop the
// others; failed is how many did.
func (f *targetFlags) each(
	ctx context.Context, out *printer, conf *config.Config, args []string, do func(*reconcile.Target) error,
) (failed int, err error) {
	image, err := reconcile.CommandImage(conf.Image.Command)
	if err != nil {
		return 0, err
	}
	one := func(t *reconcile.Target) error {
		t.Image, t.Stores = image, journal.Place{Dir: conf.Store.Path}
		return errors.Join(do(t), t.Close())
	}
	if f.upper == "" {
		return eachOverlay(ctx, out, args, f.all, conf.Reconcile.Exclude, func(name string, o *overlay.Overlay) error {
			return one(&reconcile.Target{Overlay: o, Mount: name})
		})
	}
	mounts, err := absolute(args)
	if err != nil {
		return 0, err
	}
	lowers, data := overlay.ParseLowers(f.lower)
	u, err := overlay.OpenUnmounted(
		overlay.Directories{Upper: f.upper, Lowers: lowers, DataOnly: data, Work: f.work},
		overlay.LayerOptions{UserXattr: f.userxattr})
	if err == nil {
		err = one(&reconcile.Target{Unmounted: u, Mount: mounts[0]})
	}
	return out.failedOn(mounts[0], err), nil
}
