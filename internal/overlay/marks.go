// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Mark is a whiteout or an opaque directory of the upper.
type Mark struct {
	Path   string // from the overlay's root
	Opaque bool   // an opaque directory; else a whiteout
}

// Marks reports the whiteouts and the opaque directories of the upper, in the
// order of Diff. It looks at nothing else, and not at the lowers: whether there
// is something for a mark to hide is not known. It is the fastest way to find
// what to look at. Looked, if not nil, counts the entries while it goes on.
func (l *Layers) Marks(ctx context.Context, looked *atomic.Int64, report func(Mark) error) error {
	c := &marker{comparer{layers: l, opts: DiffOptions{Looked: looked}, opaqueName: l.prefix + xattrOpaque}}
	w := &walk{visit: c.visit, failed: c.failed}
	w.report = func(n *node, r *record) error {
		return report(Mark{Path: w.pathOf(n, r), Opaque: r == &n.self})
	}
	return w.run(ctx, &node{})
}

// marker is a comparer that compares nothing.
type marker struct{ comparer }

func (c *marker) visit(s *scratch, n *node) error {
	d := &openNode{comparer: &c.comparer, s: s, n: n, rel: n.rel()}
	fd, err := openBeneath(c.layers.upper.fd(), d.rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if isGone(err) {
		return nil
	}
	if err != nil {
		d.failed(d.rel, err)
		return nil
	}
	defer closeFD(fd)
	d.dir.upper = fd
	if err := d.marks(); err != nil {
		d.failed(d.rel, err)
	}
	return nil
}

func (d *openNode) marks() error {
	opaque := make([]byte, 1)
	n, err := unix.Fgetxattr(d.dir.upper, d.opaqueName, opaque)
	switch {
	case err == nil && n == 1:
		d.n.hasSelf = opaque[0] == 'y' && d.n.parent != nil
		d.xwhite = opaque[0] == 'x' && kernelHasXattrWhiteouts()
	case err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ERANGE):
		return err
	}
	up := &d.s.upper
	looked := int64(0)
	var e dirent
	for up.start(d.dir.upper); up.next(&e); looked++ {
		if e.typ == unix.DT_REG && !d.xwhite {
			continue
		}
		if err := d.mayMark(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			d.failed(joinRel(d.rel, string(e.name)), err)
		}
		if looked&0xfff == 0 && d.s.walk.over.Load() {
			return nil
		}
	}
	if d.opts.Looked != nil {
		d.opts.Looked.Add(looked)
	}
	d.n.sort()
	return up.err
}

// mayMark keeps a whiteout, or a directory to walk.
func (d *openNode) mayMark(e *dirent) error {
	var st unix.Stat_t
	if e.typ == unix.DT_UNKNOWN {
		if err := statName(d.dir.upper, e.name, &st); err != nil {
			return err
		}
		e.typ = direntTypeOf(st.Mode)
	}
	switch e.typ {
	case unix.DT_DIR:
		d.n.add(e.name, record{kind: isDirectory})
		return nil
	case unix.DT_CHR, unix.DT_REG:
		white, err := d.isAnyWhiteout(e)
		if white {
			d.n.add(e.name, record{kind: Orphan})
		}
		return err
	}
	return nil
}
