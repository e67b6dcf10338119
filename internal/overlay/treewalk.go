// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// treeWalk finds all deviations at and below a directory, and plans for them in
// the order of the walk, parents before children. Its records are of these kinds:
//
//	Deleted, Orphan   a whiteout over an entry of the image, or over nothing
//	Modified, Added   a real entry over an entry of the image, or over nothing
//	Opaque            a directory that is to be merged again
//	Redirected        another directory was moved here
//
// Nothing is looked at below an entry that is dropped or kept as a whole.
type treeWalk struct {
	*restorer
	comparer comparer
	walk     *walk
	ctx      context.Context //nolint:containedctx // of this one walk
	skip     int             // the length of the path of the walk's top
	path     string          // of that, as the caller names it
	sure     bool            // of the lowers
	upper    *reached        // that is walked
	stopped  atomic.Bool     // and it was said

	at        *node // the directory whose records are planned for
	atPath    string
	led       *node // the directory that was asked about
	elsewhere error // whether its path leads to it
}

// walkTree plans for all below top, which the caller calls path; "" for the root
// directory.
func (r *restorer) walkTree(ctx context.Context, path string, top *node) error {
	r.walking = true
	defer func() { r.walking = false }()
	t := &treeWalk{restorer: r, ctx: ctx, path: path, sure: r.sureOfLowers(), upper: r.upper}
	t.comparer = comparer{layers: r.layers(), opts: DiffOptions{Looked: r.opts.Looked}}
	if top.name != "" {
		t.skip = len(top.name) + 1
	}
	t.walk = &walk{report: t.report, visit: t.comparer.visitor(t.look), failed: func(rel string, err error) error {
		r.failAt(t.pathOf(rel), err)
		return nil
	}}
	// What was found is dealt with after an interruption, too: each says of itself
	// that it was not tried.
	return t.walk.run(context.WithoutCancel(ctx), top)
}

// pathOf is the caller's path of an entry of the upper.
func (t *treeWalk) pathOf(rel string) string {
	if len(rel) < t.skip || t.skip == 0 && rel == "." {
		return t.path
	}
	return t.path + "/" + rel[t.skip:]
}

// look reads a directory.
func (t *treeWalk) look(d *openNode) error {
	if t.ctx.Err() != nil {
		if !t.stopped.Swap(true) {
			d.failed(d.rel, errInterrupted)
		}
		return nil
	}
	opaque, err := d.opaqueMark()
	if err != nil {
		return err
	}
	if n := d.n; n.parent != nil {
		if d.layers.redirect {
			redirect, err := d.mark(xattrRedirect)
			if err != nil {
				return err
			}
			if len(redirect) > 0 {
				n.self, n.hasSelf = record{kind: Redirected, typ: unix.DT_DIR, image: unix.DT_DIR}, true
				return nil
			}
		}
		if opaque == "y" && len(n.image) > 0 { // one that is spared may have nothing to merge with
			n.self, n.hasSelf, n.covered = record{kind: Opaque}, true, true
			if t.opts.Method == MethodIoctl { // which cannot
				return nil
			}
		}
	}
	if err := d.openImage(); err != nil {
		return err
	}
	return d.entries(true, func(e *dirent) error { return t.entry(d, e) })
}

// entry records what deviates.
func (t *treeWalk) entry(d *openNode, e *dirent) error {
	if err := d.knowType(e); err != nil {
		return err
	}
	rec := record{kind: Added, typ: e.typ}
	white, err := d.isAnyWhiteout(e)
	switch {
	case err != nil:
		return err
	case white:
		rec.kind = Orphan
	case e.typ != unix.DT_DIR && !t.opts.Discard:
		d.n.add(e.name, rec) // it is kept, whatever lies under it
		return nil
	}
	var low unix.Stat_t
	found := false
	if !d.notInImage(e.name) {
		var at int
		if at, found, err = d.inImage(e.name, &low); err != nil {
			return err
		}
		rec.layer, rec.image = uint16(at), direntTypeOf(low.Mode)
	}
	switch {
	case !found && white && t.sure: // it makes no difference to what is seen
		return nil
	case !found:
		rec.image = 0
	case white:
		rec.kind = Deleted
	default:
		rec.kind = Modified
	}
	if e.typ == unix.DT_DIR && (rec.image == unix.DT_DIR || t.spares(joinRel(d.rel, string(e.name)))) {
		return d.child(e)
	}
	if low.Nlink > 1 {
		rec.fields = 1
	}
	d.n.add(e.name, rec)
	return nil
}

// report plans for a record, and does what was planned when that is enough.
func (t *treeWalk) report(n *node, rec *record) error {
	t.planFor(n, rec)
	t.settleFull(t.ctx)
	if t.restorer.upper != t.upper {
		return errUpperMoved
	}
	return nil
}

func (t *treeWalk) planFor(n *node, rec *record) {
	if t.at != n {
		t.at, t.atPath = n, t.pathOf(n.rel())
	}
	path, in := t.atPath, n
	if rec == &n.self {
		in = n.parent
	} else {
		path += "/" + string(n.nameOf(rec))
	}
	cut := strings.LastIndexByte(path, '/')
	parent := path[:max(cut, 1)]
	err := t.leadsElsewhere(parent, in)
	isReal := rec.kind == Added || rec.kind == Modified || rec.kind == Redirected
	switch {
	case err != nil:
	case isReal && (!t.opts.Discard || t.spares(t.walk.pathOf(n, rec))):
		t.keep(path[:cut], path[cut+1:])
		return
	default:
		err = t.interrupted() // a current kernel's ioctl would act at once
	}
	if err != nil {
		t.failAt(path, err)
		return
	}
	j := &job{
		Result: Result{Path: path}, parent: parent, name: path[cut+1:],
		rel: t.walk.pathOf(n, rec), throughUpper: in.covered, isDir: rec.typ == unix.DT_DIR,
	}
	if strings.HasSuffix(path, j.rel) {
		j.rel = path[len(path)-len(j.rel):] // once in memory
	}
	switch {
	case in != n:
		j.low = &lowRef{dir: parentPlace(n.image[0]), isDir: true}
	case rec.kind == Deleted, rec.kind == Modified:
		j.low = &lowRef{dir: n.image[rec.layer], isDir: rec.image == unix.DT_DIR, linked: rec.fields != 0}
	}
	j.orphan = j.low == nil
	t.planRecord(j, rec.kind)
}

func (t *treeWalk) spares(rel string) bool { return t.opts.Spare != nil && t.opts.Spare(rel) }

func (t *treeWalk) interrupted() error {
	if t.ctx.Err() != nil {
		return errInterrupted
	}
	return nil
}

func (t *treeWalk) planRecord(j *job, kind Kind) {
	t.jobs = append(t.jobs, j)
	switch kind {
	case Deleted, Orphan:
		t.planTreeWhiteout(j)
	case Opaque:
		if t.opts.Method == MethodIoctl {
			j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER", Path: j.Path, Errno: unix.EISDIR})
			return
		}
		t.intend(j, ActMerge, MethodRemount)
	default:
		t.planDrop(j)
	}
}

// planTreeWhiteout is plan for a whiteout that was seen a moment ago.
func (t *treeWalk) planTreeWhiteout(j *job) {
	if t.opts.Method == MethodRemount || t.opts.Method == MethodAuto && (j.throughUpper || t.askKernel() == contractNone) {
		t.planWhiteout(j)
		return
	}
	t.plan(j)
}

// leadsElsewhere makes sure, once for a directory, that its path leads to what
// the layers have there. It does not where something is mounted over it, or over
// a directory above it.
func (t *treeWalk) leadsElsewhere(path string, n *node) error {
	if t.led != n {
		dir, err := t.resolve(path)
		if err == nil && dir.rel != n.rel() {
			err = errElsewhere
		}
		t.led, t.elsewhere = n, err
	}
	return t.elsewhere
}

// keep notes an entry that is kept, in little memory: there may be a million.
func (t *treeWalk) keep(dir, name string) {
	last := len(t.kept) - 1
	if last < 0 || t.kept[last].after != len(t.jobs) || t.kept[last].dir != dir {
		t.kept = append(t.kept, keptEntries{after: len(t.jobs), dir: strings.Clone(dir)})
		last++
	}
	k := &t.kept[last]
	k.names = append(append(k.names, name...), 0)
	t.keptSize += len(name) + 1
}
