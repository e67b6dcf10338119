// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/config"
	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
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
		k.out.prune(k.store)
		errs = append(errs, k.store.Close())
	}
	return errors.Join(errs...)
}

// storePlace is where the configuration has the stores.
func storePlace() (journal.Place, error) {
	conf, err := config.Load(config.Default)
	if err != nil {
		return journal.Place{}, err
	}
	return journal.Place{Dir: conf.Store.Path}, nil
}

// prune removes what is more than is to be kept. What this command was asked for
// is done, whatever becomes of it.
func (p *printer) prune(s *journal.Store) {
	conf, err := config.Load(config.Default)
	if err == nil {
		var needed func(*journal.Info) bool
		if needed, err = reconcile.StillNeeded(s); err == nil {
			_, err = s.Prune(journal.Limits{
				Count: conf.Store.MaxCount, Age: conf.Store.MaxAge, Bytes: conf.Store.MaxBytes,
			}, needed)
		}
	}
	if err != nil {
		p.note("old transactions were not pruned: " + err.Error())
	}
}

// storeOpener returns what opens the store of an upper, for --wait once nobody
// else has it.
func storeOpener(ctx context.Context, out *printer, wait bool) func(*overlay.Layer) (*journal.Store, error) {
	return func(upper *overlay.Layer) (*journal.Store, error) {
		stores, err := storePlace()
		if err != nil {
			return nil, err
		}
		for told := false; ; told = true {
			store, err := stores.Open(upper)
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
