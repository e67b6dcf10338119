// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

const performHelp = `Do what was requested. This is for the early boot, before the overlays are
mounted: for an initramfs, or a script before init. It needs neither systemd nor
/proc, and mostly finds nothing to do.

Which overlays: --upper, --work and --lower; else each [[overlay]] of the
configuration; else what fstab and the mount units mount as an overlay with an
upper. Files and paths are those of the system below --root.

The kernel command line is a request, too, with ovl-restore.reset=1 or
systemd.factory_reset=1. It counts once: a command line that carries it for ever
resets at the first boot only, until a boot without it makes it count again.

What lies where a request would, and is none, because it is damaged or somebody
else's, is reported and left alone.

Exit status:
  0  nothing was requested, or the reset is done
  1  a reset was due and was not done: either nothing was changed and the request
     stands, or it has begun and goes on at the next boot. Boot on all the same.
  2  the command line was not understood`

func newResetPerform(out *printer) *cobra.Command {
	var l layerFlags
	var root, cmdline string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "perform [flags]",
		Short: "For the early boot: do what was requested, before the overlays are mounted",
		Long:  performHelp,
		Example: `  # in an initramfs, with the configuration in it
  ovl-restore reset perform || true

  # without any configuration
  ovl-restore reset perform --lower /rofs --upper /data/upper --work /data/work`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errors.New("perform takes no arguments: it does what was requested")
			}
			return l.validate(nil)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			out.json = asJSON
			return printed(out, runResetPerform(cmd.Context(), out, &l, root, cmdline))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&root, "root", "/", "where the system's root is mounted")
	flags.StringVar(&cmdline, "command-line", procCmdline, "`FILE` that has the kernel command line")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	l.register(cmd)
	return cmd
}

func runResetPerform(ctx context.Context, out *printer, l *layerFlags, root, cmdline string) error {
	line, err := readCommandLine(cmdline)
	if err != nil {
		return err
	}
	overlays, places, err := bootPlaces(l, root)
	if errors.Is(err, errNoResetOverlay) && !reset.InCommandLine(line) && !out.json {
		// As on a machine that has the package, and no overlay.
		out.line(errNoResetOverlay.Error() + ", so no reset is requested")
		return nil
	}
	if err != nil {
		return err
	}
	defer closePlaces(places)
	began := time.Now()
	done, err := reset.Perform(places, reset.PerformOptions{
		CommandLine: reset.InCommandLine(line),
		Order:       func() (*reset.Order, error) { return commandLineOrder(overlays, root) },
		Note:        out.note,
	})
	for _, ignored := range done.Ignored {
		out.note("ignored: " + ignored.Error())
	}
	if err != nil {
		return err
	}
	if out.json {
		s, err := reset.Look(ctx, places)
		if err != nil {
			return err
		}
		out.object(newJSONReset(&s))
		return nil
	}
	for _, o := range done.Done {
		out.line(fmt.Sprintf("reset: %s; entries kept: %d; in %d ms", mountWords(o.Mounts), done.Kept, time.Since(began).Milliseconds()))
	}
	switch {
	case done.Again:
		out.line("the kernel command line asks for what was done already: not reset again until a boot without that")
	case len(done.Done) == 0:
		out.line("no reset is requested")
	}
	return nil
}

// commandLineOrder is what a request by the kernel command line is for: with the
// keep lists of the initramfs, and of the layers.
func commandLineOrder(overlays []reset.Overlay, root string) (*reset.Order, error) {
	c, err := config.Load(config.Default.Below(root))
	if err != nil {
		return nil, err
	}
	lists := func() ([]string, error) {
		of, err := reset.KeepFiles(root)
		if err != nil {
			return nil, err
		}
		more, err := reset.KeepFilesBelow(overlays)
		return append(of, more...), err
	}
	order := &reset.Order{By: "kernel command line", Wipe: c.Reset.Wipe, Stores: c.Store.Path}
	order.Keep, err = keepList(lists, c, nil, false)
	return order, err
}

// cleanupFlags are the flags of reset cleanup.
type cleanupFlags struct {
	layerFlags
	json bool
}

func newResetCleanup(out *printer) *cobra.Command {
	var f cleanupFlags
	cmd := &cobra.Command{
		Use:   "cleanup [flags] [MNT…]",
		Short: "Remove what was replaced, with low priority",
		Long: `Remove what resets have replaced, with the lowest priority, and then tell the disk
which blocks are free. It can be interrupted at any moment, and goes on when it is
run again. With --wipe of the request, files are overwritten first.`,
		Args:              func(_ *cobra.Command, args []string) error { return f.validate(args) },
		ValidArgsFunction: completeMounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			out.json = f.json
			return printed(out, runResetCleanup(cmd.Context(), out, &f, args))
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object")
	f.register(cmd)
	return cmd
}

func runResetCleanup(ctx context.Context, out *printer, f *cleanupFlags, args []string) error {
	places, err := livePlaces(&f.layerFlags, args)
	if err != nil && !errors.Is(err, errNoResetOverlay) { // then there is nothing to remove
		return err
	}
	defer closePlaces(places)
	yieldToOthers()
	opts := reset.CleanupOptions{Note: out.note}
	if out.terminal {
		opts.Progress = (&counter{out: out, next: time.Now().Add(progressAfter)}).update
	}
	c, err := reset.Cleanup(ctx, places, opts)
	if out.terminal {
		_, _ = out.stderr.Write([]byte("\r\x1b[K"))
	}
	if err != nil {
		return err
	}
	if out.json {
		out.object(jsonCleaned{Status: "done", Removed: c.Removed, Wiped: c.Wiped, Discarded: c.Discarded})
		return nil
	}
	line := fmt.Sprintf("removed %d entries", c.Removed)
	if c.Removed == 0 {
		line = "nothing to remove"
	}
	if c.Wiped > 0 {
		line += ", after overwriting " + sizeWord(c.Wiped)
	}
	if c.Discarded > 0 {
		line += ", discarded " + sizeWord(c.Discarded)
	}
	out.line(line)
	return nil
}

// yieldToOthers gives this thread, which all of the work is done in, the lowest
// priority for processor and disk. Where that is refused, it works on.
func yieldToOthers() {
	const (
		whoProcess = 1 // IOPRIO_WHO_PROCESS
		idle       = 3 // IOPRIO_CLASS_IDLE
		classShift = 13
	)
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, idle<<classShift)
}

// counter shows how many entries were removed so far.
type counter struct {
	out  *printer
	next time.Time
}

func (c *counter) update(n int64) {
	now := time.Now()
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(progressEvery)
	_, _ = fmt.Fprintf(c.out.stderr, "\rovl-restore: %d removed", n)
}
