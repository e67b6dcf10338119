// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Item is an entry of the upper that something becomes of, or that people want
// to hear of.
type Item struct {
	Decision
	Rel  string // from the overlay's root
	Rule *Rule  // what decided a conflict; nil where none was asked, or matches

	upper, image Type
	imageRel     string // where the image has it; another place below a renamed directory
}

// base is where the baseline comes from. Paths are asked for in the order of a
// walk.
type base interface {
	at(rel, imageRel string) (Version, error)
	// fill reads a file's content, where that takes reading.
	fill(v *Version, imageRel string) error
}

// noBase knows nothing.
type noBase struct{}

func (noBase) at(string, string) (Version, error) { return Version{}, nil }
func (noBase) fill(*Version, string) error        { return nil }

// imageBase is a former image itself.
type imageBase struct{ side }

func (b imageBase) at(_, imageRel string) (Version, error) { return b.version(imageRel) }

// planner goes over the upper and decides.
type planner struct {
	prefix string // where the overlay's root is seen, for the policy
	policy *Policy
	opts   Options
	queue  map[string]bool
	skip   map[string]bool // paths that were put back as they were
	upper  side
	image  side
	base   base
	was    *baselineWriter // of what the base has; nil for none

	items []Item
	files []string // entries of the upper that are no directories, and hide something or are added
	kept  int      // entries of the user, that stay
	above []frame
}

// frame is a directory of the upper that is in itself a deviation, while the walk
// is in it.
type frame struct {
	rel      string
	imageRel string
	covered  bool
	orphaned bool // the image has no directory there
	item     int  // that of a directory which goes if nothing of the user's is in it; -1
	users    bool // something of the user's is
}

// plan decides about every deviation.
func (p *planner) plan(ctx context.Context, layers *overlay.Layers) error {
	err := layers.Diff(ctx, overlay.DiffOptions{Kinds: overlay.AllKinds}, func(d overlay.Deviation) error {
		if err := p.deviation(&d); err != nil {
			return fmt.Errorf("look at %q: %w", d.Path, err)
		}
		return nil
	})
	p.leave("")
	return err
}

// leave ends the frames that rel is not below.
func (p *planner) leave(rel string) {
	for len(p.above) > 0 {
		last := len(p.above) - 1
		f := p.above[last]
		if rel != "" && strings.HasPrefix(rel, f.rel+"/") {
			return
		}
		p.above = p.above[:last]
		if f.item >= 0 {
			p.settle(&f)
		}
		if f.users && last > 0 {
			p.above[last-1].users = true
		}
	}
}

// settle decides about a directory that the image does not have any more, now
// that all in it is known.
func (p *planner) settle(f *frame) {
	item := &p.items[f.item]
	switch {
	case !f.users:
		p.items = p.items[:f.item+1] // what is in it goes with it
	case item.image == Missing:
		item.Decision = Decision{Keep, Obsolete}
	default:
		item.Decision = Decision{Keep, Conflict} // the policy does not drop what the user has in it
	}
}

func (p *planner) deviation(d *overlay.Deviation) error {
	if d.Path == "." {
		return nil // the root belongs to who mounts it
	}
	p.leave(d.Path)
	at := frame{imageRel: d.Path, item: -1}
	if n := len(p.above); n > 0 {
		f := p.above[n-1]
		at.imageRel = f.imageRel + strings.TrimPrefix(d.Path, f.rel)
		at.covered, at.orphaned = f.covered, f.orphaned
	}
	for rel := d.Path; rel != "." && !at.covered && len(p.skip) > 0; rel, _ = splitRel(rel) {
		at.covered = p.skip[rel]
	}
	e, err := p.entry(d, &at)
	if errors.Is(err, unix.ENOENT) {
		return nil // changed while we looked
	}
	if err != nil {
		return err
	}
	if p.was != nil && e.Base.Known {
		if err := p.base.fill(&e.Base, at.imageRel); err != nil {
			return err
		}
		if err := p.was.add(d.Path, e.Base); err != nil {
			return err
		}
	}
	if e.Upper.Type != Whiteout && e.Upper.Type != Directory && e.Upper.Type != Opaque {
		p.files = append(p.files, d.Path)
	}
	item := Item{Rel: d.Path, upper: e.Upper.Type, image: e.New.Type, imageRel: at.imageRel}
	choice := ChooseKeep
	if rule := p.policy.For(path.Join(p.prefix, d.Path)); rule != nil {
		choice, item.Rule = rule.Action, rule
	}
	item.Decision = Decide(e, choice, p.opts)
	switch {
	case d.Kind == overlay.Redirected:
		item.Decision = Decision{Keep, Edited}
	case item.Action == KeepBoth && !canBeside(d.Path):
		item.Decision = Decision{Keep, Conflict}
	}
	p.keep(d, &item, &at)
	return nil
}

// keep adds an item, and enters a directory.
func (p *planner) keep(d *overlay.Deviation, item *Item, at *frame) {
	isDir := item.upper == Directory || item.upper == Opaque
	waits := isDir && item.Action == Drop && item.image != Directory && item.Reason != Conflict
	switch {
	case item.Action != Keep || item.Reason.Loud():
		p.items = append(p.items, *item)
	default:
		p.kept++
	}
	if item.Action == Keep && item.upper != Whiteout && len(p.above) > 0 && (!isDir || item.Reason == Own || item.Reason == Obsolete) {
		p.above[len(p.above)-1].users = true
	}
	if !isDir || d.Kind == overlay.Metadata {
		return
	}
	at.rel = d.Path
	switch d.Kind {
	case overlay.Redirected:
		at.imageRel, at.covered, at.orphaned = d.From, false, false
	case overlay.Opaque:
		at.covered = at.covered || item.Action != Merge
	default:
		at.orphaned = true
	}
	if item.Action == Drop && !waits { // all of it goes
		at.covered, at.orphaned = true, false
	}
	if waits {
		at.item = len(p.items) - 1
	}
	p.above = append(p.above, *at)
}

// entry reads the three versions, and of their contents what it takes to compare
// them.
func (p *planner) entry(d *overlay.Deviation, at *frame) (e Entry, err error) {
	e.Covered, e.Orphaned, e.Queued = at.covered, at.orphaned, p.queue[d.Path]
	if e.Base, err = p.base.at(d.Path, at.imageRel); err != nil {
		return e, err
	}
	if e.Upper, err = p.upper.version(d.Path); err != nil {
		return e, err
	}
	if e.Upper.Type == Missing {
		return e, unix.ENOENT
	}
	if !at.orphaned {
		if e.New, err = p.image.version(at.imageRel); err != nil {
			return e, err
		}
	} else {
		e.New = Nothing
	}
	u, b, n := &e.Upper, &e.Base, &e.New
	if at.covered && !at.orphaned {
		return e, nil
	}
	if mayEqual(*u, *n) || mayEqual(*u, *b) {
		err = p.upper.fill(u, d.Path)
	}
	if err == nil && (mayEqual(*u, *n) || mayEqual(*b, *n)) {
		err = p.image.fill(n, at.imageRel)
	}
	if err == nil && (mayEqual(*u, *b) || mayEqual(*b, *n)) {
		err = p.base.fill(b, at.imageRel)
	}
	return e, err
}
