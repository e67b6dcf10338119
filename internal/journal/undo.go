// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// UndoOptions say what is to be undone.
type UndoOptions struct {
	// Paths from the overlay's root, each with all that is below it. None: the
	// whole transaction.
	Paths  []string
	DryRun bool
	Note   string // for people
}

// Result is what became of one step.
type Result struct {
	Path   string // from the overlay's root
	Action Action
	Status overlay.Status // done, planned, busy or failed
	Err    error          // set for the last two
}

// Undone is what Undo did.
type Undone struct {
	Tx      string // the transaction that it was; "" where there was nothing to do
	Results []Result
}

// Reasons why a transaction cannot be undone.
var (
	// ErrRolledBack: it was interrupted, and what it did was undone then.
	ErrRolledBack = errors.New("the transaction was interrupted and rolled back")
	// ErrOpen: it is in work, or it was interrupted and not resumed yet.
	ErrOpen = errors.New("the transaction is not done")
	// ErrNotIn: nothing was done at a path.
	ErrNotIn error = &MissingError{"the transaction did nothing there, or it is undone already"}

	errInterrupted = fmt.Errorf("interrupted before it was tried: %w", unix.EINTR)
)

// Undo brings back what a transaction dropped, and takes away what it made, the
// last step first. Where somebody changed a path since, that path fails with a
// *ChangedError and stays; the others are undone. The undo is a transaction of its
// own, so that it can be undone. The error is os.ErrNotExist for a transaction
// that is not there, ErrRolledBack, ErrOpen, or that of Site.Prove.
func (s *Store) Undo(ctx context.Context, site *overlay.Site, id string, opts UndoOptions) (done Undone, err error) {
	if s.lock == nil && !opts.DryRun {
		return done, ErrNotLocked
	}
	l, err := s.openLogged(id)
	if err != nil {
		return done, fmt.Errorf("read the transaction %s in %q: %w", id, s.path, err)
	}
	defer func() { err = errors.Join(err, l.close()) }()
	switch {
	case l.has(OpBack):
		return done, ErrRolledBack
	case !l.has(OpDone):
		return done, ErrOpen
	}
	undone, err := s.undoneBy()
	if err != nil {
		return done, err
	}
	if !opts.DryRun {
		if err := site.Prove(); err != nil {
			return done, err
		}
	}
	v := &inverter{store: s, site: site, of: l, dry: opts.DryRun, has: map[string]bool{}, lacks: map[string]bool{}}
	v.begin = func() (*Tx, error) {
		return s.Begin(Intent{Kind: KindUndo, Overlay: site.Name, Undoes: id, Note: opts.Note})
	}
	done.Results = v.run(ctx, selected{opts.Paths, undone[id]})
	if v.tx != nil {
		done.Tx = v.tx.ID
		settle(site, nil, done.Results)
		err = v.tx.Done()
	}
	return done, err
}

// selected are the lines to undo.
type selected struct {
	paths  []string
	undone map[int]bool
}

func (sel selected) has(i int, r *record) bool {
	if !r.Op.isStep() || sel.undone[i] {
		return false
	}
	return isAtOrBelowAny(r.rel(), sel.paths)
}

func isAtOrBelow(rel, dir string) bool {
	return dir == "." || rel == dir || strings.HasPrefix(rel, dir+"/")
}

// run inverts the lines, the last first. Steps that turn out to have changed
// nothing have no result.
func (v *inverter) run(ctx context.Context, sel selected) (results []Result) {
	met := map[string]bool{}
	for i := len(v.of.lines) - 1; i >= 0; i-- {
		r := &v.of.lines[i]
		if !sel.has(i, r) {
			continue
		}
		res := Result{Path: r.rel(), Status: overlay.StatusDone}
		if v.dry {
			res.Status = overlay.StatusPlanned
		}
		if ctx.Err() != nil {
			res.Err = errInterrupted
		} else {
			res.Action, res.Err = v.invert(i)
		}
		for _, p := range sel.paths {
			if isAtOrBelow(res.Path, p) {
				met[p] = met[p] || res.Action != ActNone || res.Err != nil
			}
		}
		if res.Err != nil {
			res.Status = overlay.StatusFailed
		} else if res.Action == ActNone {
			continue
		}
		results = append(results, res)
	}
	for _, p := range sel.paths {
		if !met[p] {
			results = append(results, Result{Path: p, Action: ActNone, Status: overlay.StatusFailed, Err: ErrNotIn})
		}
	}
	return results
}

// settle makes the mount show what was changed, and what else may have been at
// rels.
func settle(site *overlay.Site, rels []string, results []Result) {
	at := map[string]int{}
	for i, r := range results {
		if r.Err == nil {
			at[r.Path] = i + 1
			rels = append(rels, r.Path)
		}
	}
	slices.Sort(rels)
	rels = slices.Compact(rels)
	for i, err := range site.Settle(rels) {
		n := at[rels[i]]
		if err == nil || n == 0 {
			continue
		}
		r := &results[n-1]
		r.Err, r.Status = err, overlay.StatusFailed
		if errors.As(err, new(*overlay.BusyError)) {
			r.Status = overlay.StatusBusy
		}
	}
}

// undoneBy finds, for each transaction, the lines that others have undone.
func (s *Store) undoneBy() (map[string]map[int]bool, error) {
	undone := map[string]map[int]bool{}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		l, err := s.openLogged(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // pruned since
		}
		if err != nil {
			return nil, fmt.Errorf("read the transaction %s in %q: %w", id, s.path, err)
		}
		_ = l.close() // it was only read
		l.undoes(undone)
	}
	return undone, nil
}

// undoes adds what this transaction has undone.
func (l *logged) undoes(undone map[string]map[int]bool) {
	if !l.has(OpDone) {
		return
	}
	for _, r := range l.lines {
		if r.Tx == "" || !r.Op.isStep() {
			continue
		}
		if undone[r.Tx] == nil {
			undone[r.Tx] = map[int]bool{}
		}
		undone[r.Tx][r.I] = true
	}
}
