// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

func runRestore(ctx context.Context, out *printer, f restoreFlags, args []string, stdin io.Reader) (err error) {
	out.configure(f)
	method, err := f.parseMethod()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return &usageError{errNoMount}
	}
	o, err := openOverlay(args[0], overlay.Options{Upper: f.upper, Trace: f.trace(out)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	paths, err := f.paths(args[1:], o, stdin, out)
	if err != nil {
		return err
	}
	if f.state {
		return printStates(o, paths, out)
	}
	whiteouts, err := f.prepareDiscard(ctx, out, o)
	if err != nil {
		return err
	}
	keep := &keeper{ctx: ctx, wait: f.wait, out: out, intent: journal.Intent{Kind: journal.KindRestore, Overlay: o.Mount.Point}}
	opts := overlay.RestoreOptions{
		Method:      method,
		Recursive:   f.recursive,
		Discard:     f.discard,
		Spare:       f.spare,
		DryRun:      f.dryRun || f.test,
		Force:       f.force,
		SkipVisible: f.pkg != "",
		Keeper:      keep.open,
		// What is dropped in one go can be undone in one go.
		KeepWhiteouts: whiteouts,
	}
	stop := func() {}
	if f.recursive {
		opts.Looked = new(atomic.Int64)
		stop = out.watch(opts.Looked)
	} else if out.progress != nil {
		out.progress.begin()
	}
	opts.Progress = func(done, total int) {
		if out.progress != nil {
			out.progress.update(done, total)
		}
	}
	failed := false
	silent := !out.quiet && !out.json
	o.RestoreEach(ctx, paths, opts, func(r overlay.Result) {
		r.Err = misplaced(o, r.Path, r.Err)
		failed = failed || r.Err != nil
		silent = !out.result(r, f.test) && silent
	})
	stop()
	if silent {
		out.line("nothing to restore")
	}
	if err := keep.close(); err != nil {
		return err
	}
	if failed {
		return &failedError{}
	}
	return nil
}

// prepareDiscard rolls back what a crash cut off, before anything is looked at. It
// says whether whiteouts can be noted, too: where the upper cannot be reached, the
// kernel can still remove them.
func (f restoreFlags) prepareDiscard(ctx context.Context, out *printer, o *overlay.Overlay) (whiteouts bool, err error) {
	if !f.discard || f.dryRun || f.test {
		return false, nil
	}
	site, err := o.Site()
	if err != nil {
		return false, nil //nolint:nilerr // what needs the upper will say so
	}
	return true, resume(ctx, out, f.wait, site)
}
