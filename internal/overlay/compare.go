// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// comparer compares the upper with the image while a walk goes over the upper.
//
// In each directory there are up to two to compare with. The image's is what the
// lower layers show at its path. An opaque directory, and all below it, covers
// that: nothing of it shows, but it is what the user's entries are compared
// with. A redirected directory shows another directory of the image; all below
// it is compared with that one.
type comparer struct {
	layers *Layers
	opts   DiffOptions
	kinds  Kinds
	// opaqueName is the whole name of that attribute.
	opaqueName string
}

// modeDir is the file type of directories.
const modeDir = unix.S_IFDIR

// inFiles are the kinds that need a look at entries other than whiteouts.
const inFiles = Kinds(1<<Added | 1<<Modified | 1<<Metadata | 1<<TypeChanged | 1<<Redundant)

// openNode is a directory while it is compared.
type openNode struct {
	*comparer
	s    *scratch
	n    *node
	rel  string
	dir  openDir // the upper's directory, and those of the image
	list []byte  // the names of the upper directory's xattrs
	// single: the image's directory is one of the lowest layer, where no mark
	// means anything.
	single   bool
	filtered bool  // s.names has the image's names
	xmarks   []int // per directory of the image: has it xattr whiteouts? 0 unknown, 1 no, 2 yes
	xwhite   bool  // the upper's has
}

// visitor is what a walk does with a directory: it opens the upper's, and look
// does the rest. Somebody may remove a directory while we look.
func (c *comparer) visitor(look func(d *openNode) error) func(*scratch, *node) error {
	return func(s *scratch, n *node) error {
		d := &openNode{comparer: c, s: s, n: n, rel: n.rel()}
		d.dir = openDir{Dir: Dir{Rel: d.rel, inUpper: true}, layers: c.layers, upper: -1}
		defer d.dir.close()
		var err error
		if d.dir.upper, err = openBeneath(c.layers.upper.fd(), d.rel, unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
			err = look(d)
		}
		if err != nil && !isGone(err) {
			d.failed(d.rel, err)
		}
		return nil
	}
}

// isGone says that there is no directory of that name any more.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func (d *openNode) failed(path string, err error) {
	d.n.failures = append(d.n.failures, failure{path, err})
}

// compare compares the directory and what is in it with the image's.
func (d *openNode) compare() error {
	self, err := d.open()
	if err == nil && len(d.n.only) == 0 { // else only on the way to what was asked for
		err = d.finishSelf(self)
	}
	if err != nil {
		return err
	}
	if len(d.n.image) > 0 && d.kinds&inFiles != 0 {
		return d.entries(true, d.entry)
	}
	return d.entries(false, d.entry)
}

// open opens what the image has there, and says what there is to say of the
// directory itself.
func (d *openNode) open() (self ownState, err error) {
	opaque, err := d.opaqueMark()
	if err != nil {
		return self, err
	}
	if self, err = d.own(opaque == "y"); err != nil {
		return self, err
	}
	return self, d.openImage()
}

// opaqueMark reads the mark that says what the directory's whiteouts are, and
// whether it hides the image's.
func (d *openNode) opaqueMark() (string, error) {
	var err error
	if d.list, err = listXattrsOf(d.dir.upper, &d.s.lists[0]); err != nil {
		return "", err
	}
	opaque, err := d.mark(xattrOpaque)
	d.xwhite = string(opaque) == "x" && kernelHasXattrWhiteouts()
	return string(opaque), err
}

// openImage opens what the image has there.
func (d *openNode) openImage() error {
	for _, p := range d.n.image {
		fd, err := openBeneath(d.layers.lowers[p.layer].fd(), p.rel, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		d.dir.lower = append(d.dir.lower, fd)
	}
	d.dir.lowers = d.n.image
	d.single = len(d.n.image) == 1 && d.n.image[0].layer == len(d.layers.lowers)-1
	return nil
}

// mark reads one of the overlay's xattrs of the upper directory.
func (d *openNode) mark(key string) ([]byte, error) {
	if !listHas(d.list, d.layers.prefix, key) {
		return nil, nil
	}
	buf := make([]byte, 256)
	for {
		n, err := retryEINTR(func() (int, error) { return unix.Fgetxattr(d.dir.upper, d.layers.prefix+key, buf) })
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 64<<10:
			buf = make([]byte, 64<<10)
		case errors.Is(err, unix.ENODATA):
			return nil, nil
		default:
			return nil, err
		}
	}
}

// ownState is what is known of a directory itself.
type ownState struct {
	kind   Kind // numKinds where it is merged with the image's
	from   string
	hidden []place // what the image has at the place that another directory was moved to
	image  uint32  // the type of that
}

// own applies the directory's marks, as the kernel does when it looks it up.
func (d *openNode) own(opaque bool) (self ownState, err error) {
	n := d.n
	self = ownState{kind: numKinds, image: n.imageType}
	if n.parent == nil {
		self.image = modeDir
		return self, nil // all layers meet here, whatever is marked
	}
	var redirect []byte
	if !opaque && d.layers.redirect {
		if redirect, err = d.mark(xattrRedirect); err != nil {
			return self, err
		}
	}
	target := []place(nil)
	if len(redirect) > 0 {
		if target, err = d.redirected(string(redirect)); err != nil {
			return self, err
		}
	}
	switch {
	case len(target) > 0:
		self.kind, self.from, self.hidden = Redirected, target[0].rel, n.image
		if redirect[0] == '/' {
			self.from = strings.Trim(string(redirect), "/")
		}
		n.image, n.covered = target, false
	case n.imageType == 0:
		self.kind = Added
	case n.imageType != modeDir:
		self.kind = TypeChanged
	case opaque || len(redirect) > 0: // a redirect that leads nowhere shows nothing either
		self.kind = Opaque
		n.covered = true
	}
	return self, nil
}

// redirected finds what a redirect leads to.
func (d *openNode) redirected(redirect string) ([]place, error) {
	if strings.HasPrefix(redirect, "/") {
		s := search{layers: d.layers}
		err := s.fromRoot(0, redirect)
		return s.result.dirs, err
	}
	parent := d.n.parent
	if parent.covered || len(parent.image) == 0 {
		return nil, nil // the parent is merged with nothing
	}
	// Without the upper: it is not looked at.
	dir, err := d.layers.open(Dir{lowers: parent.image})
	if err != nil {
		return nil, err
	}
	defer dir.close()
	low, _, err := dir.lowerEntry(redirect)
	return low.dirs, err
}

// finishSelf makes the record of the directory itself.
func (d *openNode) finishSelf(self ownState) error {
	n := d.n
	rec := record{kind: self.kind, typ: unix.DT_DIR, image: direntTypeOf(self.image)}
	if len(d.dir.lower) > 0 && (self.kind != numKinds || d.kinds.Has(Metadata)) {
		fields, err := d.compareDirs()
		if err != nil {
			return err
		}
		rec.fields = uint8(fields)
		if self.kind == numKinds && fields != 0 {
			rec.kind = Metadata
		}
	}
	if rec.kind == numKinds && d.opts.Merged && n.parent != nil && len(d.dir.lower) > 0 {
		rec.kind = Redundant
	}
	if rec.kind == numKinds || !d.kinds.Has(rec.kind) {
		return nil
	}
	var x extra
	x.from = self.from
	var err error
	switch {
	case rec.kind == Opaque:
		x.hides, err = d.countHidden(n.image, d.rel)
	case rec.kind == Redirected && self.image == modeDir:
		x.hides, err = d.countHidden(self.hidden, "")
	}
	if err != nil {
		return err
	}
	n.hasSelf, n.self, n.selfExtra = true, rec, x
	return nil
}

// compareDirs compares the directory itself with the image's.
func (d *openNode) compareDirs() (Fields, error) {
	var up, low unix.Stat_t
	if err := errors.Join(unix.Fstat(d.dir.upper, &up), unix.Fstat(d.dir.lower[0], &low)); err != nil {
		return 0, err
	}
	fields := compareOwners(&up, &low)
	list, err := listXattrsOf(d.dir.lower[0], &d.s.lists[1])
	if err != nil {
		return 0, err
	}
	same, err := d.sameXattrs(d.list, list, func(side int, name string, buf []byte) (int, error) {
		return unix.Fgetxattr([]int{d.dir.upper, d.dir.lower[0]}[side], name, buf)
	})
	if !same {
		fields |= FieldXattrs
	}
	return fields, err
}
