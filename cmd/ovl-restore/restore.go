// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

func runRestore(ctx context.Context, out *printer, f restoreFlags, args []string, stdin io.Reader) (err error) {
	out.configure(f.json, f.quiet, f.nul)
	method, err := f.parseMethod()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return &usageError{errNoMount}
	}
	o, err := overlay.Open(args[0], overlay.Options{Upper: f.upper, Trace: f.trace(out)})
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
	keep := &keeper{ctx: ctx, wait: f.wait}
	results := o.Restore(ctx, paths, overlay.RestoreOptions{
		Method:      method,
		Recursive:   f.recursive,
		Discard:     f.discard,
		DryRun:      f.dryRun || f.test,
		Force:       f.force,
		SkipVisible: f.pkg != "",
		Keeper:      keep.open,
	})
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

// keeper opens the store when the first entry is about to be dropped.
type keeper struct {
	ctx   context.Context //nolint:containedctx // lives as long as one command
	wait  bool
	store *journal.Store
	tx    *journal.Tx
}

func (k *keeper) open(upper *overlay.Layer) (overlay.Keeper, error) {
	if k.tx != nil {
		return k.tx, nil
	}
	for {
		store, err := journal.Open(upper.Root(), upper.Where)
		if err == nil {
			k.store = store
			break
		}
		if !k.wait || !errors.Is(err, journal.ErrLocked) {
			return nil, err
		}
		select {
		case <-k.ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
	var err error
	k.tx, err = k.store.Begin()
	return k.tx, err
}

func (k *keeper) close() error {
	var errs []error
	if k.tx != nil {
		errs = append(errs, k.tx.Done())
	}
	if k.store != nil {
		errs = append(errs, k.store.Close())
	}
	return errors.Join(errs...)
}
