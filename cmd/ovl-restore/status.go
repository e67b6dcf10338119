// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

const statusHelp = `Show what there is to know about overlays: about each of this device, or about
those of MNT. Those of container runtimes are left out unless they are named, or
--all is given. Nothing is written, and nothing is tried out.

Of each overlay: its layers, as they were found, and how sure it is that they
are the right ones ("matched": what they hold is what the overlay shows;
"named": the mount options say so, and nothing contradicts); the file systems
that they are on; the options that matter; how files can be brought back; which
image the lower is; how many entries differ from the image, by kind; the room
that the upper takes, and what of it could be freed; the backups that are kept;
whether a reset is requested, or being cleaned up after.

Copies are taken to be equal to the image's by size and times; see ovl-restore
diff --content.

With --output prometheus, the same in the text format for the textfile collector
of Prometheus' node exporter:

  ovl-restore status --output prometheus >/var/lib/prometheus/ovl-restore.prom.new &&
  mv /var/lib/prometheus/ovl-restore.prom.new /var/lib/prometheus/ovl-restore.prom

Exit status:
  0  all was looked at
  1  something was not; each failure is on its own line
  2  the command line was not understood`

// statusFlags are the flags of status.
type statusFlags struct {
	all    bool
	json   bool
	output string
}

func newStatus(out *printer) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [flags] [MNT…]",
		Short: "Show each overlay: layers, deviations from the image, room, backups",
		Long:  statusHelp,
		Args: func(*cobra.Command, []string) error {
			return f.validate()
		},
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.configure(restoreFlags{json: f.output == "json"})
			return printed(out, runStatus(cmd.Context(), out, f, args))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.all, "all", false, "also those of container runtimes")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	flags.StringVar(&f.output, "output", "table", "how: table, json or prometheus")
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{"table", "json", "prometheus"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag above has another name: no test would pass
	}
	return cmd
}

func (f *statusFlags) validate() error {
	if f.json {
		if f.output != "table" && f.output != "json" {
			return fmt.Errorf("--json and --output %s contradict each other", f.output)
		}
		f.output = "json"
	}
	switch f.output {
	case "table", "json", "prometheus":
		return nil
	}
	return fmt.Errorf("--output %q: want table, json or prometheus", f.output)
}

// overlayStatus is all that status shows of one overlay.
type overlayStatus struct {
	*overlay.Overview
	others []string // where else it is mounted
	store  *journal.Summary
	recon  *reconcile.Status // nil where there was no run, or it was not found
	place  *reset.Place      // closed when status has looked at all of them
	reset  *reset.Status     // nil where the upper was not found
	now    time.Time
}

// failures are what could not be looked at.
func (s *overlayStatus) failures() []error {
	var errs []error
	for _, err := range []error{s.UpperErr, s.LowersErr, s.CountErr} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func runStatus(ctx context.Context, out *printer, f statusFlags, args []string) error {
	overlays, err := choose(args, f.all)
	if err != nil {
		return err
	}
	var all []*overlayStatus
	failed := false
	for _, c := range overlays {
		if ctx.Err() != nil {
			break
		}
		s, err := out.lookAt(ctx, c)
		errs := []error{err}
		if err == nil {
			all = append(all, s)
			errs = s.failures()
		}
		for _, err := range errs {
			failed = true
			if f.output != "json" || s == nil {
				out.failure(c.name(), err)
			}
		}
	}
	if err := lookAtResets(ctx, all); err != nil {
		return err
	}
	switch f.output {
	case "json":
		for _, s := range all {
			out.object(newJSONStatus(s))
		}
	case "prometheus":
		out.prometheus(all)
	default:
		if len(overlays) == 0 {
			out.line("no overlay is mounted here")
		}
		out.statusTable(all)
	}
	if failed {
		return &failedError{}
	}
	return nil
}

func (p *printer) lookAt(ctx context.Context, c chosen) (_ *overlayStatus, err error) {
	o, err := c.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	s := &overlayStatus{others: c.Others, now: time.Now()}
	var looked atomic.Int64
	stop := p.watch(&looked)
	s.Overview = o.Overview(ctx, &looked)
	stop()
	if s.CountErr != nil && ctx.Err() != nil {
		s.CountErr = errInterrupted
	}
	if s.Upper == nil {
		return s, nil
	}
	if s.place, err = reset.OpenAt(s.Upper.Root(), reset.Overlay{Mount: o.Mount.Point, Upper: s.Upper.Where}); err != nil {
		s.place, s.CountErr = nil, errors.Join(s.CountErr, err)
	}
	stores, err := storePlace()
	if err != nil {
		return nil, err
	}
	if s.store, err = summarize(stores, s.Upper.Layer); err != nil {
		s.CountErr = errors.Join(s.CountErr, err)
	}
	layers, err := o.Layers()
	if err == nil {
		s.recon, err = reconcile.Look(layers, stores)
	}
	if err != nil && s.LowersErr == nil {
		s.CountErr = errors.Join(s.CountErr, err)
	}
	return s, nil
}

// summarize looks at the store of an upper; nil where there is none.
func summarize(stores journal.Place, upper *overlay.Layer) (_ *journal.Summary, err error) {
	store, err := stores.View(upper)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	sum, err := store.Summary()
	return &sum, err
}

// lookAtResets tells of each overlay whether its reset is requested. A request
// may lie with another overlay than it is for.
func lookAtResets(ctx context.Context, all []*overlayStatus) error {
	var places []*reset.Place
	var of []*overlayStatus
	for _, s := range all {
		if s.place != nil {
			places, of = append(places, s.place), append(of, s)
		}
	}
	defer closePlaces(places)
	states, err := reset.LookEach(ctx, places)
	for i := range states {
		of[i].reset = &states[i]
	}
	return err
}
