// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// keeper opens the store when the first entry is about to be dropped.
type keeper struct {
	ctx    context.Context //nolint:containedctx // lives as long as one command
	wait   bool
	out    *printer
	intent journal.Intent
	store  *journal.Store
	tx     *journal.Tx
}

func (k *keeper) open(upper *overlay.Layer) (overlay.Keeper, error) {
	if k.tx != nil {
		return k.tx, nil
	}
	store, err := storeOpener(k.ctx, k.out, k.wait)(upper)
	if err != nil {
		return nil, err
	}
	k.store = store
	k.tx, err = k.store.Begin(k.intent)
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

// storeOpener returns what opens the store of an upper, for --wait once nobody
// else has it.
func storeOpener(ctx context.Context, out *printer, wait bool) func(*overlay.Layer) (*journal.Store, error) {
	return func(upper *overlay.Layer) (*journal.Store, error) {
		for told := false; ; told = true {
			store, err := journal.Open(upper.Root(), upper.Where)
			if err == nil || !wait || !errors.Is(err, journal.ErrLocked) {
				return store, err
			}
			if !told {
				out.note("waiting for another ovl-restore that is changing this overlay")
			}
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}
