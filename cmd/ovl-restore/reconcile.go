// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
)

const reconcileHelp = `Fit the upper of each overlay, or of those of MNT, to a new image. Overlays of
container runtimes are left out unless they are named, or --all is given.

Each entry of the upper is seen in three versions: what the image had when the
user made the change (the baseline), what the upper has, and what the new image
has. Copies that the user never changed go, so that the new image's show;
whiteouts over what the image newly ships go; the user's edits and deletions
stay. Where both have changed an entry, the policy decides; see ovl-restore
policy. Without a baseline only what is equal to the image goes.

What goes is kept beside the upper first, in one transaction that can be undone.
Where the image is that of the last time, nothing is read but the state. Where it
is an earlier one, what was done for the later one is undone, but where the user
has changed it since. Something that fails is tried again by the next run.

The image is known by its os-release, else by its file system's UUID. The
baseline is that of ovl-restore baseline, or --base shows the image itself: its
root directory, or the directory that MNT has there. So does the other slot that
[base] of the configuration leads to, as long as it has that image.

An overlay that is not mounted yet is named by its layers, and MNT says where it
will be mounted.

Exit status:
  0  all done, or nothing to do
  1  something failed; each failure is on its own line
  2  the command line was not understood`

const reconcileExample = `  # what would an update do?
  ovl-restore reconcile --dry-run

  # the image before is still there, in the other slot
  ovl-restore reconcile --base /run/other-slot /etc

  # before the overlay is mounted
  ovl-restore reconcile --lower /rofs/etc --upper /data/etc/upper --work /data/etc/work /etc`

// reconcileFlags are the flags of reconcile.
type reconcileFlags struct {
	targetFlags
	base    string
	method  string
	dryRun  bool
	again   bool
	confirm bool
}

func newReconcile(out *printer) *cobra.Command {
	var f reconcileFlags
	cmd := &cobra.Command{
		Use:     "reconcile [flags] [MNT…]",
		Short:   "Fit the upper to a new image, by what the user really changed",
		Long:    reconcileHelp,
		Example: reconcileExample,
		Args: func(_ *cobra.Command, args []string) error {
			return f.validate(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json, out.quiet = f.json, f.quiet
			return printed(out, runReconcile(cmd.Context(), out, &f, args))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&f.dryRun, "dry-run", "n", false, "change nothing, say what would be done")
	flags.StringVar(&f.base, "base", "", "the directory `DIR` shows the image that ran before")
	flags.BoolVar(&f.again, "again", false, "also when the image is that of the last time")
	flags.BoolVar(&f.confirm, "confirm", false, "only say that the image is good: the backups of the change to it may go, in time")
	flags.StringVar(&f.method, "method", string(overlay.MethodAuto), "how: auto, ioctl or remount")
	f.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("dry-run", "confirm")
	return cmd
}

func runReconcile(ctx context.Context, out *printer, f *reconcileFlags, args []string) error {
	method, err := restoreFlags{method: f.method}.parseMethod()
	if err != nil {
		return err
	}
	conf, err := config.Load(config.Default)
	if err != nil {
		return err
	}
	policy, err := reconcile.LoadPolicy(config.Default)
	if err != nil {
		return err
	}
	opts := reconcile.RunOptions{
		Options: reconcile.Options{
			PruneOrphans:   conf.Reconcile.PruneOrphans,
			RestoreUpdated: conf.Reconcile.DeletedButUpdated == "restore",
		},
		Policy: policy, Method: method, Base: f.base, DryRun: f.dryRun, Again: f.again,
		Open: storeOpener(ctx, out, f.wait), Prune: out.prune,
	}
	if opts.Base == "" && !f.confirm {
		// Without it there is the record.
		previous, err := reconcile.OpenPrevious(conf)
		if err != nil {
			out.note(withoutErrno(err))
		} else {
			defer func() { _ = previous.Close() }()
			opts.Base, opts.BaseMayDiffer = previous.Dir, true
		}
	}
	var sum reconcileSum
	sum.broken, err = f.each(ctx, out, conf, args, func(t *reconcile.Target) error {
		if f.confirm {
			return reconcile.Confirm(t, opts.Open)
		}
		report, err := reconcile.Run(ctx, t, opts)
		if report != nil {
			sum.add(report, out.reconciled(t.Mount, report))
		}
		if err == nil && report.Failed() {
			err = &failedError{}
		}
		return err
	})
	if !f.confirm {
		announce(sum.String())
	}
	return ended(sum.broken, err)
}

// reconciled prints what became of an overlay, and returns its numbers.
func (p *printer) reconciled(mount string, r *reconcile.Report) jsonReconciled {
	counts := jsonReconciled{
		jsonPath: newJSONPath(mount), Status: string(r.Outcome), From: r.From, To: r.To,
		Kept: r.Kept, Transaction: r.Tx, Undone: r.Undone,
	}
	for i := range r.Results {
		res := &r.Results[i]
		switch res.Status {
		case overlay.StatusFailed:
			counts.Failed++
		case overlay.StatusKept:
			counts.Kept++
		default:
			counts.Changed++
		}
		switch {
		case p.json:
			p.object(newJSONDecision(res))
		case res.Status == overlay.StatusFailed, res.Status == overlay.StatusBusy:
			p.failure(res.Path, res.Err)
		case !p.quiet:
			p.line(decisionLine(res))
		}
	}
	if r.NoBase != nil {
		p.note(quotePath(mount) + ": without the image before: " + withoutErrno(r.NoBase))
	}
	switch {
	case p.json:
		p.object(counts)
	case p.journal:
		p.record(quotePath(mount)+": "+outcomeLine(r, &counts), counts.fields()...)
	case !p.quiet:
		p.line(quotePath(mount) + ": " + outcomeLine(r, &counts))
	}
	return counts
}

func decisionLine(r *reconcile.Result) string {
	reason := " (" + string(r.Reason) + ")"
	path := quotePath(r.Path)
	would := ""
	if r.Status == overlay.StatusPlanned {
		would = "would "
	}
	switch {
	case r.Action == reconcile.Keep:
		line := "kept " + path + reason
		if r.Err != nil {
			line += ": " + withoutErrno(r.Err)
		}
		return line
	case r.Action == reconcile.KeepBoth && would != "":
		return "would write " + quotePath(r.Path+reconcile.BesideSuffix) + reason
	case r.Action == reconcile.KeepBoth:
		return "wrote " + quotePath(r.Path+reconcile.BesideSuffix) + reason
	case would != "":
		return would + string(r.Action) + " " + path + reason
	case r.Action == reconcile.Adopt:
		return "adopted the image's attributes for " + path + reason
	case r.Action == reconcile.Undo:
		return "undone " + path + reason
	}
	return sentence(overlay.Result{Path: r.Path, Action: r.Act, Status: r.Status, Method: r.Method, Backup: r.Backup}, false) + reason
}

func outcomeLine(r *reconcile.Report, c *jsonReconciled) string {
	image := quotePath(r.To)
	if r.From != "" && r.From != r.To {
		image += " (was " + quotePath(r.From) + ")"
	}
	counts := plural(c.Changed, "entry", "entries") + " changed, " + plural(c.Kept, "entry", "entries") + " of the user kept"
	switch r.Outcome {
	case reconcile.Unchanged:
		return "nothing to do, the image is " + image
	case reconcile.RolledBack:
		return "back to " + image + ": " + plural(len(r.Undone), "transaction", "transactions") + " undone, " + counts
	case reconcile.Incomplete:
		return plural(c.Failed, "entry", "entries") + " failed, to be tried again: " + image + ", " + counts
	case reconcile.Planned:
		return "would be fitted to " + image + ": " + counts
	case reconcile.Reconciled:
	}
	return "fitted to " + image + ": " + counts
}

// jsonDecision is an object of reconcile: an entry that something became of, or
// that people want to hear of.
type jsonDecision struct {
	jsonResult
	Decision string `json:"decision"` // keep, drop, merge, adopt, keep-both, undo
	Reason   string `json:"reason"`
	Rule     string `json:"rule,omitempty"` // of the policy, for a conflict
}

// jsonReconciled follows those of an overlay.
type jsonReconciled struct {
	jsonPath             // the mount point
	Status      string   `json:"status"` // unchanged, reconciled, rolled-back, planned, incomplete
	From        string   `json:"from,omitempty"`
	To          string   `json:"to"`
	Changed     int      `json:"changed"`
	Kept        int      `json:"kept"`
	Failed      int      `json:"failed"`
	Transaction string   `json:"transaction,omitempty"`
	Undone      []string `json:"undone,omitempty"`
}

// fields are those of the record in systemd's journal.
func (c *jsonReconciled) fields() []field {
	var set []field
	for _, f := range []field{
		{"OVL_RESTORE_OVERLAY", c.Path},
		{"OVL_RESTORE_STATUS", c.Status},
		{"OVL_RESTORE_FROM", c.From},
		{"OVL_RESTORE_TO", c.To},
		{"OVL_RESTORE_TRANSACTION", c.Transaction},
		{"OVL_RESTORE_CHANGED", strconv.Itoa(c.Changed)},
		{"OVL_RESTORE_KEPT", strconv.Itoa(c.Kept)},
		{"OVL_RESTORE_FAILED", strconv.Itoa(c.Failed)},
	} {
		if f.value != "" {
			set = append(set, f)
		}
	}
	return set
}

// reconcileSum is what became of all overlays, for systemctl status.
type reconcileSum struct {
	image                           string
	overlays, changed, kept, failed int
	broken                          int // overlays on which it failed
}

func (s *reconcileSum) add(r *reconcile.Report, c jsonReconciled) {
	s.image = r.To
	s.overlays++
	s.changed += c.Changed
	s.kept += c.Kept
	s.failed += c.Failed
}

func (s *reconcileSum) String() string {
	switch {
	case s.overlays == 0 && s.broken > 0:
		return "failed on " + plural(s.broken, "overlay", "overlays")
	case s.overlays == 0:
		return "there is no overlay to reconcile"
	}
	text := plural(s.overlays, "overlay", "overlays") + " on " + s.image + ": " +
		plural(s.changed, "entry", "entries") + " changed, " + strconv.Itoa(s.kept) + " of the user kept"
	if s.failed > 0 {
		text += ", " + strconv.Itoa(s.failed) + " failed"
	}
	if s.broken > 0 {
		text += "; to be tried again on " + plural(s.broken, "overlay", "overlays")
	}
	return text
}

func newJSONDecision(r *reconcile.Result) jsonDecision {
	j := jsonDecision{
		jsonResult: newJSONResult(overlay.Result{
			Path: r.Path, Status: r.Status, Action: r.Act, Method: r.Method, Backup: r.Backup, Holders: r.Holders, Err: r.Err,
		}),
		Decision: string(r.Action), Reason: string(r.Reason),
	}
	if r.Rule != nil && r.Reason == reconcile.Conflict {
		j.Rule = r.Rule.String()
	}
	return j
}
