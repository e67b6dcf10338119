// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// RunOptions say how to reconcile.
type RunOptions struct {
	Options
	Policy *Policy
	Method overlay.Method
	// Base is a directory that shows the image that ran before, "" for none: all of
	// it, or what it has at the overlay's mount point.
	Base string
	// BaseMayDiffer: Base is used only where it is that image, and does not show
	// what ran since.
	BaseMayDiffer bool
	DryRun        bool
	Again         bool // also when the image is that of the last time
	// Prune, if not nil, removes old transactions from the store, at the end of a
	// run in which all was done; see StillNeeded.
	Prune func(*journal.Store)
	// Open opens the store of an upper; see journal.Open.
	Open func(upper *overlay.Layer) (*journal.Store, error)
}

// Outcome is what a run came to.
type Outcome string

// The outcomes.
const (
	Unchanged  Outcome = "unchanged"   // the image is that of the last time
	Reconciled Outcome = "reconciled"  // with a new image
	RolledBack Outcome = "rolled-back" // the image is an earlier one: what was done for the later one is undone
	Planned    Outcome = "planned"     // a dry run
	Incomplete Outcome = "incomplete"  // something failed, and is tried again the next time
)

// Result is what became of an entry.
type Result struct {
	Item
	Path    string
	Status  overlay.Status
	Act     overlay.Action // what was done in the upper, for what was dropped
	Method  overlay.Method
	Backup  string
	Holders []overlay.Holder
	Err     error // set for failed and busy, and for kept where the kernel would refuse
}

// Report is what a run did.
type Report struct {
	Outcome  Outcome
	From, To string // images; From is "" the first time
	Results  []Result
	Kept     int    // entries of the user that nobody needs to hear of
	Tx       string // the transaction, "" for none
	Undone   []string
	NoBase   error // why the image before, or what is recorded of it, could not be looked at
}

// Failed says that something is to be tried again.
func (r *Report) Failed() bool { return r.Outcome == Incomplete }

// run is one run on one overlay.
type run struct {
	*Target
	opts   RunOptions
	layers *overlay.Layers
	store  *journal.Store
	state  State
	queue  []queued
	tx     *journal.Tx
	files  []string // of the upper, no directories
	back   int      // 1 + the step that a rollback goes back to; 0 for none
	report *Report
}

// Run fits the upper of an overlay to its image. Where the image is that of the
// last time and nothing is queued, only the state is read.
//
// Errors are those of reaching the layers, an *UnknownImageError,
// journal.ErrLocked, and what the file system says. What fails for single
// entries is in the report.
func Run(ctx context.Context, t *Target, opts RunOptions) (_ *Report, err error) {
	r := &run{Target: t, opts: opts, report: &Report{Outcome: Unchanged}}
	if r.report.To, err = t.image(); err != nil {
		return nil, err
	}
	if r.layers, err = t.layers(); err != nil {
		return nil, err
	}
	done, err := r.unchanged()
	if done || err != nil {
		return r.report, err
	}
	if opts.DryRun {
		return r.report, r.foresee(ctx)
	}
	if r.store, err = opts.Open(r.layers.Upper()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.store.Close()) }()
	return r.report, r.reconcile(ctx)
}

// unchanged says whether there is nothing to do.
func (r *run) unchanged() (bool, error) {
	store, err := r.view()
	if store == nil || err != nil {
		return false, err
	}
	defer func() { _ = store.Close() }()
	st, err := readState(store)
	if err != nil || st.Image != r.report.To || st.Trying != "" || r.opts.Again {
		return false, err
	}
	r.report.From = st.Image
	queue, err := store.Files(queueDir)
	return len(queue) == 0, err
}

// view opens the store for reading; nil where there is none.
func (r *run) view() (*journal.Store, error) {
	upper := r.layers.Upper()
	store, err := r.Stores.View(upper)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return store, err
}

// foresee plans, and changes nothing.
func (r *run) foresee(ctx context.Context) (err error) {
	if r.store, err = r.view(); err != nil {
		return err
	}
	if r.store != nil {
		defer func() { err = errors.Join(err, r.store.Close()) }()
		if err := r.load(); err != nil {
			return err
		}
	}
	r.report.Outcome = Planned
	skip, err := r.undo(ctx)
	if err != nil {
		return err
	}
	items, err := r.plan(ctx, skip)
	for i := range items {
		r.add(&Result{Item: items[i], Status: statusOf(&items[i], overlay.StatusPlanned)})
	}
	return err
}

// statusOf is done, or what else, for an item that something becomes of.
func statusOf(item *Item, done overlay.Status) overlay.Status {
	if item.Action == Keep {
		return overlay.StatusKept
	}
	return done
}

func (r *run) add(res *Result) {
	res.Path = r.path(res.Rel)
	r.report.Results = append(r.report.Results, *res)
}

// load reads what the store remembers.
func (r *run) load() (err error) {
	if r.state, err = readState(r.store); err != nil {
		return err
	}
	r.report.From = r.state.Image
	if r.state.Image != "" && r.state.Image == r.report.To && r.state.Trying != "" {
		// The device fell back while it was fitted to another image: as if that had
		// been done, and this were a rollback.
		step, err := r.step(r.state.Trying)
		if err != nil {
			return err
		}
		r.state.Steps = append(r.state.Steps, step)
		r.state.Image, r.report.From = r.state.Trying, r.state.Trying
	}
	r.queue, err = readQueue(r.store)
	return err
}

// forgetOrigins makes the upper's files independent of the numbers that files had in
// another image.
func (r *run) forgetOrigins() error {
	if r.state.Image == r.report.To || len(r.files) == 0 {
		return nil
	}
	site, err := r.site()
	if err == nil {
		err = site.Prove()
	}
	if err == nil {
		err = site.ForgetOrigins(r.files)
	}
	if err != nil {
		return err
	}
	r.layers, err = r.Target.layers() // some may have been reached anew
	return err
}

// trying has on disk that the upper is about to be fitted to the present image.
func (r *run) trying() error {
	if r.state.Trying != "" || r.opts.DryRun {
		return nil
	}
	r.state.Trying = r.report.To
	return writeState(r.store, r.state)
}

// reconcile does it, under the store's lock.
func (r *run) reconcile(ctx context.Context) error {
	if err := r.resume(ctx); err != nil {
		return err
	}
	if err := r.load(); err != nil {
		return err
	}
	skip, err := r.undo(ctx)
	if err != nil {
		return err
	}
	items, err := r.plan(ctx, skip)
	if err != nil {
		return err
	}
	if err := r.forgetOrigins(); err != nil {
		return err
	}
	err = r.apply(ctx, items)
	if r.tx != nil {
		r.report.Tx = r.tx.ID
		err = errors.Join(err, r.tx.Done())
	}
	if err != nil {
		return err
	}
	return r.remember(ctx)
}

// remember says for which image it was done. Where something failed, nothing is
// said, so that the next run tries it again with the same baseline.
func (r *run) remember(ctx context.Context) error {
	for i := range r.report.Results {
		if r.report.Results[i].Status == overlay.StatusFailed {
			r.report.Outcome = Incomplete
			return nil
		}
	}
	r.report.Outcome = Reconciled
	if r.back > 0 {
		r.report.Outcome = RolledBack
	}
	steps, err := r.steps()
	if err != nil {
		return err
	}
	// The baseline comes first: with that of the new image and the old state,
	// nothing is dropped that should not be.
	rec, err := record(ctx, r.Target, r.store, r.report.To)
	if err != nil {
		return err
	}
	st := State{
		Image: r.report.To, Time: time.Now().UTC(), Pending: rec.pending,
		Confirmed: r.state.Confirmed && r.state.Image == r.report.To,
		Steps:     steps, LastTx: r.state.LastTx,
	}
	if infos, err := r.store.Transactions(); err != nil {
		return err
	} else if len(infos) > 0 {
		st.LastTx = infos[0].ID
	}
	if err := writeState(r.store, st); err != nil {
		return err
	}
	err = errors.Join(r.forget(steps), r.emptyQueue())
	if err == nil && r.opts.Prune != nil {
		r.opts.Prune(r.store)
	}
	return err
}
