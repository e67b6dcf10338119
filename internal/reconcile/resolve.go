// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// NotPendingError says that there is no image's version beside an entry.
type NotPendingError struct{ Path string }

func (e *NotPendingError) Error() string {
	return fmt.Sprintf("nothing is to be resolved: there is no %q", e.Path+BesideSuffix)
}

// Unwrap returns ENOENT.
func (e *NotPendingError) Unwrap() error { return unix.ENOENT }

// Resolve ends a conflict that was kept both ways: the image's version goes from
// beside the entry at rel, and with useImage the user's goes, too, so that the
// image's shows. Both are kept in one transaction. rel may name either of the
// two. The error is a *NotPendingError where there is no conflict.
func Resolve(ctx context.Context, t *Target, rel string, useImage bool, opts RunOptions) (results []Result, err error) {
	rel = strings.TrimSuffix(rel, BesideSuffix)
	layers, err := t.layers()
	if err != nil {
		return nil, err
	}
	upper := side{layers.UpperReader()}
	defer upper.Close()
	beside, err := upper.version(rel + BesideSuffix)
	if err != nil {
		return nil, err
	}
	user, err := upper.version(rel)
	if err != nil {
		return nil, err
	}
	if !beside.Exists() {
		return nil, &NotPendingError{Path: t.path(rel)}
	}
	rels := []string{rel + BesideSuffix}
	if useImage && user.Type != Missing {
		rels = []string{rel, rel + BesideSuffix}
	}
	store, err := opts.Open(layers.Upper())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	tx, err := store.Begin(journal.Intent{Kind: journal.KindResolve, Overlay: t.Mount})
	if err != nil {
		return nil, err
	}
	results, err = t.dropAll(ctx, rels, tx, opts.Method)
	err = errors.Join(err, tx.Done())
	if err != nil {
		return results, err
	}
	st, err := readState(store)
	if err != nil || st.Image == "" {
		return results, err
	}
	pending := st.Pending
	st.Pending = nil
	for _, p := range pending {
		if string(p) != rel {
			st.Pending = append(st.Pending, p)
		}
	}
	return results, writeState(store, st)
}

// dropAll drops entries of the upper. After one that failed, no other is.
func (t *Target) dropAll(ctx context.Context, rels []string, tx *journal.Tx, method overlay.Method) ([]Result, error) {
	var results []Result
	for _, rel := range rels {
		done, err := t.drop(ctx, []overlay.Drop{{Path: rel}}, tx, method)
		for i := range done {
			r := Result{Item: Item{Rel: rel, Decision: Decision{Drop, Conflict}}, Path: t.path(rel)}
			r.take(&done[i])
			results = append(results, r)
			if r.Status == overlay.StatusFailed || r.Status == overlay.StatusKept {
				return results, err
			}
		}
		if err != nil {
			return results, err
		}
	}
	return results, nil
}
