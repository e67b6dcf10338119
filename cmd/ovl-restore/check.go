// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

const checkHelp = `Look for what is wrong with overlays: with each of them, with those of MNT, or
with the layers of one that is not mounted. Overlays of container runtimes are
left out unless they are named, or --all is given.

Each finding has a code that does not change its meaning, says what is where,
what it does to the user, and what to do about it. A notice tells of what
somebody may well have meant, and does not count in the exit status.

Nothing is written, unless --repair is given. Then what is safe to repair is
repaired, and what is dropped is kept beside the upper directory, in
UPPER.ovl-restore/tx/. On a mounted overlay these are whiteouts that hide
nothing; the rest needs the overlay to be unmounted, and its layers named by
--lower, --upper and --work.

Findings:
  orphan-whiteout          a whiteout over nothing                   (--repair)
  exposed-whiteout         a whiteout that ls shows                  (--repair)
  impure-missing           a directory lacks the mark overlay.impure (--repair, not mounted;
                           a notice where upper and image are on two file systems)
  work-leftover            an interrupted copy-up's temporary entry  (--repair, not mounted;
                           a notice on a mounted overlay, where it may be going on)
  redirect-origin-missing  a renamed directory, and what it was is gone
  redirect-origin-doubled  a renamed directory, and what it was shows, too
  redirect-not-followed    a renamed directory, mounted without redirects
  metacopy-origin-missing  a copy of metadata only, and the content is gone
  metacopy-origin-doubled  the content of a metacopy shows elsewhere, too
  metacopy-not-followed    a copy of metadata only, mounted without metacopy
  directory-over-file      a directory where the image has a file
  file-over-directory      a file where the image has a directory    (a notice)
  wrong-namespace          a mark in trusted.* that should be in user.*, or the reverse
  newer-kernel             a whiteout that this kernel takes for an empty file
  lower-changed            the upper was made on another lower       (a notice where that does no harm)
  work-not-found           the work directory could not be looked at (a notice)
  work-elsewhere           work and upper on different file systems  (not mounted)
  work-in-upper            the work directory is in the upper        (not mounted)
  volatile-left            a mount with volatile left its mark       (not mounted)

With -0, a finding is its code, a space, the path as it is, and NUL.

Exit status, as of fsck; a sum where several hold:
  0   no problem
  1   problems were repaired
  4   problems are left
  8   something could not be looked at, or repaired
  16  the command line was not understood`

const checkExample = `  # every overlay of this device
  ovl-restore check

  # remove whiteouts that hide nothing, on the running system
  ovl-restore check --repair /etc

  # an overlay that is not mounted
  ovl-restore check --lower /rofs/etc --upper /data/etc/upper --work /data/etc/work`

// The exit codes of fsck(8).
const (
	fsckRepaired = 1
	fsckLeft     = 4
	fsckError    = 8
	fsckUsage    = 16
)

// checkFlags are the flags of check.
type checkFlags struct {
	repair    bool
	all       bool
	lower     string
	upper     string
	work      string
	userxattr bool
	wait      bool
	nul       bool
	json      bool
	quiet     bool
}

func newCheck(out *printer) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:         "check [flags] [MNT…]",
		Short:       "Look for what is wrong with overlays, and repair what is safe to",
		Long:        checkHelp,
		Example:     checkExample,
		Annotations: map[string]string{usageCode: "16", failedCode: "8"},
		Args: func(_ *cobra.Command, args []string) error {
			return f.validate(args)
		},
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.configure(restoreFlags{json: f.json, quiet: f.quiet, nul: f.nul})
			return runCheck(cmd.Context(), out, f, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.repair, "repair", false, "repair what is safe to repair; a backup is kept")
	flags.BoolVar(&f.all, "all", false, "also those of container runtimes")
	flags.StringVar(&f.lower, "lower", "", "of an overlay that is not mounted: `LOWER[:LOWER…]`, topmost first")
	flags.StringVar(&f.upper, "upper", "", "its upper directory `DIR`")
	flags.StringVar(&f.work, "work", "", "its work directory `DIR`")
	flags.BoolVar(&f.userxattr, "userxattr", false, "it is mounted with userxattr")
	flags.BoolVar(&f.wait, "wait", false, "wait for another ovl-restore that is changing the overlay")
	flags.BoolVarP(&f.nul, "null", "0", false, "print CODE PATH of each finding, names as they are, and NUL after each")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print problems that are left, and failures, only")
	cmd.MarkFlagsMutuallyExclusive("json", "null")
	return cmd
}

var (
	errHalfOffline = errors.New("an overlay that is not mounted is named by --lower and --upper together")
	errMountAndDir = errors.New("give MNT, or --lower and --upper, not both")
	errOfOffline   = errors.New("--work and --userxattr go with --lower and --upper")
)

func (f checkFlags) offline() bool { return f.upper != "" }

func (f checkFlags) validate(args []string) error {
	switch {
	case (f.lower == "") != (f.upper == ""):
		return errHalfOffline
	case f.offline() && (len(args) > 0 || f.all):
		return errMountAndDir
	case !f.offline() && (f.work != "" || f.userxattr):
		return errOfOffline
	}
	return nil
}

// checkable is a mounted or an unmounted overlay.
type checkable interface {
	Check(ctx context.Context, opts overlay.CheckOptions) ([]overlay.Finding, error)
	Repair(ctx context.Context, findings []overlay.Finding, opts overlay.RepairOptions) error
	Close() error
}

func runCheck(ctx context.Context, out *printer, f checkFlags, args []string) error {
	r := &checkRun{printer: out, flags: f}
	if f.offline() {
		lowers, data := overlay.ParseLowers(f.lower)
		u, err := overlay.OpenUnmounted(
			overlay.Directories{Upper: f.upper, Lowers: lowers, DataOnly: data, Work: f.work},
			overlay.LayerOptions{UserXattr: f.userxattr})
		r.check(ctx, &checkedOverlay{name: f.upper, upper: f.upper, work: f.work}, u, err)
		return r.exit()
	}
	overlays, err := choose(args, f.all)
	if err != nil {
		out.fatal(err)
		return &exitError{fsckError}
	}
	for _, c := range overlays {
		if ctx.Err() != nil {
			break
		}
		if c.err == nil && c.Config.Upper.IsZero() {
			continue // only an upper can have what is looked for
		}
		o, err := c.open()
		if err != nil {
			r.check(ctx, &checkedOverlay{name: c.name()}, nil, err)
			continue
		}
		m := o.Mount
		r.check(ctx, &checkedOverlay{
			name: m.Point, upper: m.Point, work: m.Config.Work.Path, mounted: true,
			root: strings.Trim(m.Root, "/"), hidden: m.Config.Upper.Path,
		}, o, nil)
	}
	return r.exit()
}

// checkRun is one run of check, and what came of it.
type checkRun struct {
	*printer
	flags  checkFlags
	code   int
	looked atomic.Int64 // upper entries
}

// exit is the run's outcome.
func (r *checkRun) exit() error {
	if r.code == 0 {
		return nil
	}
	return &exitError{r.code}
}

// check checks one overlay, and closes it.
func (r *checkRun) check(ctx context.Context, c *checkedOverlay, o checkable, err error) {
	if err == nil {
		err = errors.Join(r.checkOpen(ctx, c, o), o.Close())
	}
	if err != nil {
		r.code |= fsckError
		r.failure(c.name, err)
	}
}

func (r *checkRun) checkOpen(ctx context.Context, c *checkedOverlay, o checkable) error {
	keep := &keeper{ctx: ctx, wait: r.flags.wait, out: r.printer, intent: journal.Intent{Kind: journal.KindRepair, Overlay: c.name}}
	var failed error // the repair; it is not tried again
	opts := overlay.CheckOptions{
		Looked: &r.looked,
		Failed: func(rel string, err error) {
			r.code |= fsckError
			r.failure(c.where(overlay.Finding{In: overlay.InUpper, Path: rel}), err)
		},
		Found: func(findings []overlay.Finding) error {
			if r.flags.repair && failed == nil && ctx.Err() == nil {
				failed = o.Repair(ctx, findings, overlay.RepairOptions{Keeper: keep.open})
			}
			r.count(c, findings)
			r.findings(c, findings)
			return failed
		},
	}
	stop := r.watch(&r.looked)
	_, err := o.Check(ctx, opts)
	stop()
	if err != nil && ctx.Err() != nil {
		err = errFoundSoFar
	} else if failed != nil {
		err = failed
	}
	err = errors.Join(err, keep.close())
	if err == nil {
		r.checked(c)
	}
	return err
}

// count adds what was found to the outcome.
func (r *checkRun) count(c *checkedOverlay, findings []overlay.Finding) {
	for _, f := range findings {
		switch {
		case f.Repaired:
			r.code |= fsckRepaired
			c.repaired++
		case f.Severity == overlay.Notice:
			c.notices++
			continue
		default:
			r.code |= fsckLeft
			c.left++
		}
		if f.Err != nil && !errors.Is(f.Err, overlay.ErrMountedRepair) {
			r.code |= fsckError
		}
	}
}
