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
	for told := false; ; told = true {
		store, err := journal.Open(upper.Root(), upper.Where)
		if err == nil {
			k.store = store
			break
		}
		if !k.wait || !errors.Is(err, journal.ErrLocked) {
			return nil, err
		}
		if !told {
			k.out.note("waiting for another ovl-restore that is changing this overlay")
		}
		select {
		case <-k.ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
	var err error
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
