// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

const resetHelp = `Return overlays to the state of their image: a factory reset.

A reset is requested on the running system and performed at the next boot,
before the overlays are mounted: each upper is renamed aside, and an empty one
takes its place, with what is on the keep list in it. All overlays are reset
together. A power cut at any moment ends, after the next boot, in the old state
with the request standing, or in the reset state. It takes as long for a million
files as for ten; what was replaced is removed later, in the background.

  request   ask for a reset at the next boot
  status    tell whether one is requested, and how far the clean-up is
  cancel    withdraw the request
  perform   for the early boot: do what was requested
  cleanup   remove what was replaced

Which overlays: MNT…, else each [[overlay]] of the configuration, else all that
are mounted with an upper and are of no container runtime. perform has to know
the same ones.

The keep list has a pattern a line, in keep.d/*.conf of /usr/lib/ovl-restore and
/etc/ovl-restore; a file of the latter replaces one of the same name.

  /etc/ssh/ssh_host_*_key*    * and ? match within a name
  /var/lib/rauc               a directory stands for all that is in it
  /home/**/.config            ** stands for any number of directories

What is kept keeps its content, mode, owner, times, attributes and hard links.
Directories that it needs are made as the image has them. Backups of ovl-restore
are not kept.

With --now, an overlay that is not the root is reset on the running system: as by
ovl-restore --recursive --discard MNT MNT, but for what is on the keep list. What
is dropped is kept as a backup.`

func newReset(out *printer) *cobra.Command {
	var now bool
	var f requestFlags
	cmd := &cobra.Command{
		Use:   "reset --now [flags] MNT",
		Short: "Return overlays to the state of their image: a factory reset",
		Long:  resetHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if !now {
				return errors.New("reset what, and when? give a command, or --now MNT")
			}
			return cobra.ExactArgs(1)(nil, args)
		},
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json = f.json
			return printed(out, runResetNow(cmd.Context(), out, args[0], &f))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&now, "now", false, "on the running system: MNT must not be the root")
	f.registerKeep(cmd)
	cmd.AddCommand(newResetRequest(out), newResetStatus(out), newResetCancel(out), newResetPerform(out), newResetCleanup(out))
	return cmd
}

// errResetRoot: the root cannot be emptied under the running system.
var errResetRoot = errors.New("this is the root, which the running system needs")

func runResetNow(ctx context.Context, out *printer, mnt string, r *requestFlags) error {
	m, err := overlay.Find(mnt)
	if err != nil {
		return wrongMount(err)
	}
	if m.Point == "/" {
		return errResetRoot
	}
	c, err := config.Load(config.Default)
	if err != nil {
		return err
	}
	keep, err := keepList(func() ([]string, error) { return reset.KeepFiles("/") }, c, r.keep, r.keepNone)
	if err != nil {
		return err
	}
	place, err := mountedPlace(chosen{Listed: overlay.Listed{Mount: m}, arg: mnt})
	if err != nil {
		return err
	}
	defer func() { _ = place.Close() }()
	f := restoreFlags{method: string(overlay.MethodAuto), recursive: true, discard: true, dryRun: r.dryRun, json: r.json}
	if f.spare, _, err = place.Kept(keep); err != nil {
		return fmt.Errorf("look for what is kept: %w", err)
	}
	out.keepList = true
	return runRestore(ctx, out, f, []string{m.Point, m.Point}, nil)
}

// requestFlags are the flags of reset request.
type requestFlags struct {
	layerFlags
	keep     []string
	keepNone bool
	wipe     bool
	yes      bool
	reboot   bool
	dryRun   bool
	json     bool
	by       string
}

func newResetRequest(out *printer) *cobra.Command {
	var f requestFlags
	cmd := &cobra.Command{
		Use:   "request [flags] [MNT…]",
		Short: "Ask for a reset at the next boot",
		Long: `Ask for a reset at the next boot. What will be kept and what will go is told
first, and a person is asked to confirm it; programs say --yes.

See ovl-restore reset --help.`,
		Example: `  # the device, with the network's settings kept
  ovl-restore reset request --keep '/etc/NetworkManager/system-connections/**' --reboot

  # what would be kept, and what would go
  ovl-restore reset request --dry-run`,
		Args:              func(_ *cobra.Command, args []string) error { return f.validate(args) },
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json = f.json
			return printed(out, runResetRequest(cmd.Context(), out, &f, args, cmd.InOrStdin()))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.registerKeep(cmd)
	flags.BoolVar(&f.wipe, "wipe", false, "overwrite the old files before they are removed, where that means something")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.reboot, "reboot", false, "reboot at once")
	flags.StringVar(&f.by, "by", "command", "who asks, for reset status")
	f.register(cmd)
	return cmd
}

// registerKeep adds the flags that a request and reset --now have in common.
func (f *requestFlags) registerKeep(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.keep, "keep", nil, "also keep what matches `PATTERN`; may be repeated")
	flags.BoolVar(&f.keepNone, "keep-none", false, "keep nothing, whatever the keep lists say")
	flags.BoolVarP(&f.dryRun, "dry-run", "n", false, "change nothing, say what would be kept and what would go")
	flags.BoolVar(&f.json, "json", false, "print one JSON object a line")
	cmd.MarkFlagsMutuallyExclusive("keep", "keep-none")
}

func runResetRequest(ctx context.Context, out *printer, f *requestFlags, args []string, stdin io.Reader) error {
	places, err := livePlaces(&f.layerFlags, args)
	if err != nil {
		return err
	}
	defer closePlaces(places)
	c, err := config.Load(config.Default)
	if err != nil {
		return err
	}
	order := &reset.Order{By: f.by, Wipe: f.wipe || c.Reset.Wipe, Stores: c.Store.Path}
	order.Keep, err = keepList(func() ([]string, error) { return reset.KeepFiles("/") }, c, f.keep, f.keepNone)
	if err != nil {
		return err
	}
	if err := tellSurvey(ctx, out, places, order, f.dryRun); err != nil || f.dryRun {
		return err
	}
	if !f.yes {
		if ok, err := confirmed(out, stdin); !ok || err != nil {
			return err
		}
	}
	if err := reset.Request(places, order); err != nil {
		return err
	}
	if out.json {
		out.object(newJSONReset(&reset.Status{State: reset.Requested, Order: order}))
	} else {
		out.line("requested: the reset is done at the next boot; ovl-restore reset cancel withdraws it")
	}
	if f.reboot {
		if !out.flush() {
			return &failedError{}
		}
		return reboot()
	}
	return nil
}

// tellSurvey says what will be kept, and what will go.
func tellSurvey(ctx context.Context, out *printer, places []*reset.Place, order *reset.Order, dryRun bool) error {
	for _, p := range places {
		s, err := p.Survey(ctx, order)
		if err != nil {
			return fmt.Errorf("look at the upper of the overlay on %q: %w", p.Mount, err)
		}
		means, why := p.Wiping()
		if out.json {
			if dryRun {
				out.object(newJSONSurvey(p, s))
			}
			continue
		}
		line := quotePath(p.Mount) + ": keeps " + amountWords(s.Keeps) + ", drops " + amountWords(s.Goes)
		if s.Backups.Entries > 0 {
			line += ", and backups of " + sizeWord(s.Backups.Bytes)
		}
		out.line(line)
		if order.Wipe && !means {
			out.line("  --wipe means nothing here: " + why)
		} else if order.Wipe && why != "" {
			out.line("  --wipe: " + why)
		}
	}
	return nil
}

func amountWords(a reset.Amount) string {
	if a.Entries == 1 {
		return "1 entry (" + sizeWord(a.Bytes) + ")"
	}
	return fmt.Sprintf("%d entries (%s)", a.Entries, sizeWord(a.Bytes))
}

// errNotConfirmed: nobody is there to be asked.
var errNotConfirmed = errors.New("nobody can be asked here: a program says --yes")

// confirmed asks whoever sits at the terminal.
func confirmed(out *printer, stdin io.Reader) (bool, error) {
	f, ok := stdin.(*os.File)
	if !ok || !isTerminal(f) {
		return false, &usageError{errNotConfirmed}
	}
	if !out.flush() {
		return false, &failedError{}
	}
	_, _ = io.WriteString(out.stderr, "Reset at the next boot? What is dropped cannot be brought back. [y/N] ")
	answer, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	out.line("nothing was requested")
	return false, nil
}

func newResetStatus(out *printer) *cobra.Command {
	var l layerFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [flags] [MNT…]",
		Short: "Tell whether a reset is requested, and how far the clean-up is",
		Long: `Tell whether a reset is requested, when the last one was done, and what the
clean-up after it has still to remove. Nothing is changed.`,
		Args:              func(_ *cobra.Command, args []string) error { return l.validate(args) },
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json = asJSON
			return printed(out, runResetStatus(cmd.Context(), out, &l, args))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	l.register(cmd)
	return cmd
}

func runResetStatus(ctx context.Context, out *printer, l *layerFlags, args []string) error {
	places, err := livePlaces(l, args)
	if err != nil {
		return err
	}
	defer closePlaces(places)
	s, err := reset.Look(ctx, places)
	if err != nil {
		return err
	}
	if out.json {
		out.object(newJSONReset(&s))
		return nil
	}
	for _, line := range resetLines(&s) {
		out.line(line)
	}
	return nil
}

func newResetCancel(out *printer) *cobra.Command {
	var l layerFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "cancel [flags] [MNT…]",
		Short:             "Withdraw the request for a reset",
		Long:              `Withdraw the request for a reset. Once a reset has begun it cannot be withdrawn.`,
		Args:              func(_ *cobra.Command, args []string) error { return l.validate(args) },
		ValidArgsFunction: completeMounts,
		RunE: func(_ *cobra.Command, args []string) error {
			out.json = asJSON
			return printed(out, runResetCancel(out, &l, args))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	l.register(cmd)
	return cmd
}

func runResetCancel(out *printer, l *layerFlags, args []string) error {
	places, err := livePlaces(l, args)
	if err != nil {
		return err
	}
	defer closePlaces(places)
	orders, err := reset.Cancel(places)
	switch {
	case err != nil:
		return err
	case out.json:
		out.object(newJSONReset(&reset.Status{State: reset.None}))
	case len(orders) == 0:
		out.line("no reset was requested")
	default:
		out.line("cancelled: nothing will be reset")
	}
	return nil
}
