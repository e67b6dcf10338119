// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"

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
// others.
func (f *targetFlags) each(ctx context.Context, out *printer, conf *config.Config, args []string, do func(*reconcile.Target) error) error {
	image, err := reconcile.CommandImage(conf.Image.Command)
	if err != nil {
		return err
	}
	failed := false
	one := func(name string, t *reconcile.Target, err error) {
		if err == nil {
			t.Image, t.Stores = image, journal.Place{Dir: conf.Store.Path}
			err = errors.Join(do(t), t.Close())
		}
		if err == nil {
			return
		}
		failed = true
		if !errors.As(err, new(*failedError)) {
			out.failure(name, err)
		}
	}
	if f.upper != "" {
		mounts, err := absolute(args)
		if err != nil {
			return err
		}
		lowers, data := overlay.ParseLowers(f.lower)
		u, err := overlay.OpenUnmounted(
			overlay.Directories{Upper: f.upper, Lowers: lowers, DataOnly: data, Work: f.work},
			overlay.LayerOptions{UserXattr: f.userxattr})
		one(mounts[0], &reconcile.Target{Unmounted: u, Mount: mounts[0]}, err)
	} else {
		overlays, err := choose(args, f.all)
		if err != nil {
			return err
		}
		for _, c := range overlays {
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case c.err == nil && c.Config.Upper.IsZero():
			case len(args) == 0 && slices.Contains(conf.Reconcile.Exclude, c.Point):
			default:
				o, err := c.open()
				one(c.name(), &reconcile.Target{Overlay: o, Mount: c.name()}, err)
			}
		}
	}
	if failed {
		return &failedError{}
	}
	return nil
}
