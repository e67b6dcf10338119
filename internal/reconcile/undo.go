// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Step is a change to another image, which a rollback undoes.
type Step struct {
	N    int      `json:"n"`            // counts up; names the baseline of the image before
	From string   `json:"from"`         // the image before
	Tx   []string `json:"tx,omitempty"` // transactions, in their order
}

// maxSteps is how many changes of the image are remembered.
const maxSteps = 4

// baselineOf is where the baseline of the image before step n is kept.
func baselineOf(n int) string { return "baseline-" + strconv.Itoa(n) + ".jsonl" }

// resume rolls back what a crash cut off, and removes what else it left.
func (r *run) resume(ctx context.Context) error {
	site, err := r.site()
	if err != nil {
		return err
	}
	if _, err := r.store.Resume(ctx, site); err != nil {
		return err
	}
	r.layers, err = r.Target.layers()
	return err
}

// rollback says which step the present image was before; -1 for an image that
// comes after all others.
func (r *run) rollback() int {
	if r.report.To == r.state.Image {
		return -1
	}
	for n := len(r.state.Steps) - 1; n >= 0; n-- {
		if r.state.Steps[n].From == r.report.To {
			return n
		}
	}
	return -1
}

// undo undoes what was done for images after the present one, and returns the
// paths where something was. They are as they were before, or the user has
// changed them since.
func (r *run) undo(ctx context.Context) (map[string]bool, error) {
	n := r.rollback()
	if n < 0 {
		return nil, nil
	}
	site, err := r.site()
	if err != nil {
		return nil, err
	}
	r.back = n + 1
	if err := r.trying(); err != nil {
		return nil, err
	}
	touched := map[string]bool{}
	for i := len(r.state.Steps) - 1; i >= n; i-- {
		step := &r.state.Steps[i]
		for j := len(step.Tx) - 1; j >= 0; j-- {
			if err := r.undoTx(ctx, site, step.Tx[j], touched); err != nil {
				return nil, err
			}
		}
	}
	r.layers, err = r.Target.layers()
	return touched, err
}

func (r *run) undoTx(ctx context.Context, site *overlay.Site, id string, touched map[string]bool) error {
	entries, err := r.store.Entries(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil // pruned
	}
	if err != nil {
		return err
	}
	for i := range entries {
		touched[entries[i].Path] = true
	}
	undone, err := r.store.Undo(ctx, site, id, journal.UndoOptions{DryRun: r.opts.DryRun, Note: undoNote + r.report.To})
	if errors.Is(err, journal.ErrRolledBack) {
		return nil
	}
	if err != nil {
		return err
	}
	r.report.Undone = append(r.report.Undone, id)
	for _, u := range undone.Results {
		res := &Result{Item: Item{Rel: u.Path, Decision: Decision{Undo, Rollback}}, Status: u.Status, Err: u.Err}
		if errors.As(u.Err, new(*journal.ChangedError)) {
			res.Status, res.Action = overlay.StatusKept, Keep
		}
		r.add(res)
	}
	return nil
}

// steps are those that lead to the present image, for the next state.
func (r *run) steps() ([]Step, error) {
	if r.back == 0 {
		if r.state.Image == "" || r.state.Image == r.report.To {
			return r.state.Steps, nil
		}
		step, err := r.step(r.report.To, r.state.Trying)
		steps := r.state.Steps
		steps = append(steps, step)
		return steps[max(0, len(steps)-maxSteps):], err
	}
	steps := r.state.Steps[:r.back-1]
	if len(steps) == 0 {
		return nil, nil
	}
	// Where a rollback was cut off and then taken back, that is what the next
	// rollback has to undo.
	infos, err := r.store.Transactions()
	kind := map[string]journal.Kind{}
	var again []string
	for i := len(infos) - 1; i >= 0; i-- {
		t := &infos[i]
		kind[t.ID] = t.Kind
		if t.ID == r.state.LastTx {
			again = nil
		} else if kind[t.Undoes] == journal.KindUndo && leadsTo(t, r.report.To) {
			again = append(again, t.ID)
		}
	}
	last := &steps[len(steps)-1]
	last.Tx = append(last.Tx, again...)
	return steps, err
}

// step is the change from the image of the state to the first of others. Its
// transactions are those that are newer than the state: also of runs that came no
// further than to the end of one.
func (r *run) step(to ...string) (Step, error) {
	step := Step{From: r.state.Image}
	for _, s := range r.state.Steps {
		step.N = s.N + 1
	}
	infos, err := r.store.Transactions()
	if err != nil {
		return step, err
	}
	for i := range infos {
		t := &infos[i]
		if t.ID == r.state.LastTx {
			break
		}
		if leadsTo(t, to...) {
			step.Tx = append([]string{t.ID}, step.Tx...)
		}
	}
	return step, nil
}

// leadsTo says whether a transaction is in force, and was made for one of these
// images.
func leadsTo(t *journal.Info, to ...string) bool {
	for _, image := range to {
		if image != "" && t.State == journal.StateDone &&
			(t.Kind == journal.KindReconcile && t.To == image || t.Kind == journal.KindUndo && t.Note == undoNote+image) {
			return true
		}
	}
	return false
}

// undoNote begins the note of a transaction that undoes another for a rollback.
const undoNote = "back to "

// keeping plans, and keeps what the deviations were made on, for a rollback: the
// baseline of the image before, of the moment in which it was left.
func (r *run) keeping(ctx context.Context, p *planner) error {
	if r.opts.DryRun || r.back > 0 || r.state.Image == "" || r.state.Image == r.report.To {
		return p.plan(ctx, r.layers)
	}
	step, err := r.step()
	if err != nil {
		return err
	}
	if r.state.Trying != "" { // an interrupted run has kept it, before it dropped any
		b, err := storedBase(r.store, baselineOf(step.N), r.state.Image)
		if b != nil {
			return errors.Join(b.Close(), p.plan(ctx, r.layers))
		}
		if err != nil && !errors.Is(err, errBaseline) {
			return err
		}
	}
	return r.store.Replace(baselineOf(step.N), func(w io.Writer) error {
		buffer := bufio.NewWriter(w)
		p.was = newBaselineWriter(buffer, baselineHead{Image: r.state.Image})
		return errors.Join(p.plan(ctx, r.layers), buffer.Flush())
	})
}

// forget removes the baselines of steps that are no longer remembered.
func (r *run) forget(kept []Step) error {
	needed := map[int]bool{}
	for _, s := range kept {
		needed[s.N] = true
	}
	for _, s := range r.state.Steps {
		if needed[s.N] {
			continue
		}
		if err := r.store.Remove(baselineOf(s.N)); err != nil {
			return err
		}
	}
	return nil
}

// bases are the baselines of the store, of which the first that knows of a path
// counts. For a rollback there are two records: what the user had on the image that
// is back is known from then, the rest was made on the later one.
type bases []*baselineReader

func (b bases) at(rel, imageRel string) (v Version, err error) {
	for _, from := range b {
		where := rel
		if from.head.Complete { // it is of the image, not of what was made of that
			where = imageRel
		}
		was, err := from.at(where)
		if errors.Is(err, errBaseline) {
			continue // nothing is known by it from there on; see damage
		}
		if err != nil {
			return v, err
		}
		if !v.Known {
			v = was
		}
	}
	return v, nil
}

func (bases) fill(*Version, string) error { return nil }

// damage is why some of them could not be read to their ends.
func (b bases) damage() (err error) {
	for _, from := range b {
		err = errors.Join(err, from.err)
	}
	return err
}

func (b bases) close() {
	for _, from := range b {
		_ = from.Close() // it was only read
	}
}
