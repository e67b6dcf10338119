// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// plan decides about everything in the upper but what is below the paths in skip.
func (r *run) plan(ctx context.Context, skip map[string]bool) ([]Item, error) {
	from, release, err := r.base()
	if err != nil {
		return nil, err
	}
	defer release()
	queue, err := r.queuedPaths()
	if err != nil {
		return nil, err
	}
	p := &planner{
		prefix: r.Mount, policy: r.opts.Policy, opts: r.opts.Options, queue: queue, skip: skip,
		upper: side{r.layers.UpperReader()}, image: side{r.layers.ImageReader()}, base: from,
	}
	defer p.upper.Close()
	defer p.image.Close()
	err = r.keeping(ctx, p)
	if records, ok := from.(bases); ok {
		r.report.NoBase = errors.Join(r.report.NoBase, records.damage())
	}
	r.report.Kept, r.files = p.kept, p.files
	return p.items, err
}

// base finds what the image before had: the image itself, or else the record of
// it.
func (r *run) base() (from base, release func(), err error) {
	if r.opts.Base != "" {
		reader, err := r.formerImage()
		if err != nil {
			return nil, nil, err
		}
		if reader != nil {
			return imageBase{side{reader}}, func() { _ = reader.CloseImage() }, nil
		}
	}
	if r.store == nil || r.state.Image == "" {
		return noBase{}, func() {}, nil
	}
	var all bases
	add := func(name, image string) bool {
		b, openErr := storedBase(r.store, name, image)
		switch {
		case b != nil:
			all = append(all, b)
		case errors.Is(openErr, errBaseline):
			r.report.NoBase = errors.Join(r.report.NoBase, openErr)
		default:
			err = errors.Join(err, openErr)
		}
		return b != nil || openErr != nil
	}
	if r.back > 0 {
		add(baselineOf(r.state.Steps[r.back-1].N), r.report.To)
	}
	if !add(BaselineName, r.state.Image) {
		add(BaselineName, r.report.To) // an interrupted run has come so far
	}
	// What the record does not have, for it is of an earlier moment, the image's own
	// has: but the record is of what was seen.
	add(manifestName, r.state.Image)
	if err != nil {
		all.close()
		return nil, nil, err
	}
	return all, all.close, nil
}

// formerImage opens the image that ran before; nil where it is another one, and
// may be.
func (r *run) formerImage() (*overlay.Reader, error) {
	sub, err := subOf(r.opts.Base, r.Mount)
	var reader *overlay.Reader
	if err == nil {
		reader, err = r.layers.FormerImage(r.opts.Base, sub)
	}
	if !r.opts.BaseMayDiffer {
		return reader, err
	}
	if err != nil {
		r.report.NoBase = err
		return nil, nil //nolint:nilerr // the other slot may be empty, or half written
	}
	name := ImageName(reader.Image())
	if name == "" || name == r.report.To || r.state.Image != "" && name != r.state.Image || r.back > 0 {
		return nil, reader.CloseImage()
	}
	return reader, nil
}

// subOf says where below root an image has what is seen at a mount point: there,
// or, where root is no root directory, in root itself.
func subOf(root, mount string) (string, error) {
	sub := strings.Trim(mount, "/")
	if sub == "" {
		return ".", nil
	}
	is := func(name string) bool {
		st, err := os.Lstat(filepath.Join(root, name))
		return err == nil && st.IsDir()
	}
	switch {
	case is(sub):
		return sub, nil
	case is("usr") || is("etc"):
		return "", fmt.Errorf("the former image %q has no directory %q: %w", root, mount, unix.ENOENT)
	}
	return ".", nil
}

// apply does what was decided, in one transaction.
func (r *run) apply(ctx context.Context, items []Item) error {
	upper, image := side{r.layers.UpperReader()}, side{r.layers.ImageReader()}
	defer upper.Close()
	defer image.Close()
	was := map[string]bool{}
	for _, rel := range r.state.Pending {
		was[string(rel)] = true
	}
	var drops []overlay.Drop
	var of []int    // which result a drop is of; -1 for none
	var later []int // what is written once the drops are done
	for i := range items {
		item := &items[i]
		switch item.Action {
		case Drop, Merge:
			of = append(of, i)
			drops = append(drops, overlay.Drop{Path: item.Rel, Merge: item.Action == Merge})
			if item.Action == Merge || !was[item.Rel] {
				break
			}
			if there, err := upper.version(item.Rel + BesideSuffix); err != nil {
				return err
			} else if there.Exists() {
				of = append(of, -1)
				drops = append(drops, overlay.Drop{Path: item.Rel + BesideSuffix})
			}
		case KeepBoth:
			same, there, err := isBeside(upper, image, item)
			if err != nil {
				return err
			}
			if !same {
				later = append(later, i)
			}
			if there && !same {
				of = append(of, -1)
				drops = append(drops, overlay.Drop{Path: item.Rel + BesideSuffix})
			}
		case Adopt:
			later = append(later, i)
		case Keep, Undo:
		}
	}
	results := make([]Result, len(items))
	for i := range items {
		results[i] = Result{Item: items[i], Status: statusOf(&items[i], overlay.StatusDone)}
	}
	defer func() {
		for i := range results {
			r.add(&results[i])
		}
	}()
	if len(drops) == 0 && len(later) == 0 {
		return nil
	}
	if err := r.trying(); err != nil {
		return err
	}
	var err error
	r.tx, err = r.store.Begin(journal.Intent{
		Kind: journal.KindReconcile, Overlay: r.Mount, From: r.report.From, To: r.report.To,
	})
	if err != nil {
		return err
	}
	done, err := r.drop(ctx, drops, r.tx, r.opts.Method)
	for i, res := range done {
		if at := of[i]; at >= 0 {
			results[at].take(&res)
		}
	}
	if err != nil {
		return err
	}
	// To prove the layers, some may have been reached anew.
	if r.layers, err = r.Target.layers(); err != nil {
		return err
	}
	image.Close()
	image = side{r.layers.ImageReader()}
	for _, i := range later {
		write := putBeside
		if items[i].Action == Adopt {
			write = adopt
		}
		if err := write(r.Target, image, &items[i], r.tx); err != nil {
			results[i].Status, results[i].Err = overlay.StatusFailed, err
		}
	}
	return ctx.Err()
}

// take takes over what became of an entry in the upper.
func (r *Result) take(res *overlay.Result) {
	r.Status, r.Act, r.Method = res.Status, res.Action, res.Method
	r.Backup, r.Holders, r.Err = res.Backup, res.Holders, res.Err
	var (
		noLower  *overlay.NoLowerError
		conflict *overlay.ConflictError
	)
	switch {
	case errors.As(res.Err, &noLower) && noLower.WhiteoutGone:
		r.Status, r.Err = overlay.StatusDone, nil
	case errors.As(res.Err, &conflict): // the kernel could not take it, ever
		r.Status, r.Action = overlay.StatusKept, Keep
	}
}

// isBeside says whether there is an entry in the place of the image's version
// already, and whether it is the same.
func isBeside(upper, image side, item *Item) (same, there bool, err error) {
	rel := item.Rel + BesideSuffix
	u, err := upper.version(rel)
	if err != nil || !u.Exists() {
		return false, u.Type == Whiteout, err
	}
	n, err := image.version(item.imageRel)
	if err == nil && mayEqual(u, n) {
		err = errors.Join(upper.fill(&u, rel), image.fill(&n, item.imageRel))
	}
	return u.Equal(n), true, err
}
