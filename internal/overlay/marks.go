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
	c := &comparer{layers: l, opts: DiffOptions{Looked: looked}, opaqueName: l.prefix + xattrOpaque}
	w := &walk{visit: c.visitor((*openNode).marks), failed: c.failed}
	w.report = func(n *node, r *record) error {
		return report(Mark{Path: w.pathOf(n, r), Opaque: r == &n.self})
	}
	return w.run(ctx, &node{})
}

// marks looks for a directory's own mark, with one call, and for whiteouts.
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
	return d.entries(false, d.mayMark)
}

// mayMark keeps a whiteout, or a directory to walk.
func (d *openNode) mayMark(e *dirent) error {
	if e.typ == unix.DT_REG && !d.xwhite {
		return nil
	}
	if err := d.knowType(e); err != nil {
		return err
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
