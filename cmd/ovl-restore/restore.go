// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"

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
	keep := &keeper{ctx: ctx, wait: f.wait, out: out, intent: journal.Intent{Kind: journal.KindRestore, Overlay: o.Mount.Point}}
	opts := overlay.RestoreOptions{
		Method:      method,
		Recursive:   f.recursive,
		Discard:     f.discard,
		DryRun:      f.dryRun || f.test,
		Force:       f.force,
		SkipVisible: f.pkg != "",
		Keeper:      keep.open,
	}
	if out.progress != nil {
		out.progress.begin()
		opts.Progress = out.progress.update
	}
	results := o.Restore(ctx, paths, opts)
	for i := range results {
		results[i].Err = misplaced(o, results[i].Path, results[i].Err)
	}
	out.results(results, f.test)
	if err := keep.close(); err != nil {
		return err
	}
	for _, r := range results {
		if r.Err != nil {
			return &failedError{}
		}
	}
	return nil
}
