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

func (c *comparer) visit(s *scratch, n *node) error {
	d := &openNode{comparer: c, s: s, n: n, rel: n.rel()}
	d.dir = openDir{Dir: Dir{Rel: d.rel}, layers: c.layers, upper: -1}
	defer d.dir.close()
	err := d.open()
	if isGone(err) {
		return nil // somebody removed it while we looked
	}
	if err == nil {
		err = d.entries()
	}
	if err != nil {
		d.failed(d.rel, err)
	}
	return nil
}

// isGone says that there is no directory of that name any more.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

func (d *openNode) failed(path string, err error) {
	d.n.failures = append(d.n.failures, failure{path, err})
}

// open opens the directory in the upper and in the image, and says what is to
// be said of itself.
func (d *openNode) open() (err error) {
	flags := unix.O_RDONLY | unix.O_DIRECTORY
	if d.dir.upper, err = openBeneath(d.layers.upper.fd(), d.rel, flags); err != nil {
		return err
	}
	if d.list, err = listXattrsOf(d.dir.upper, &d.s.lists[0]); err != nil {
		return err
	}
	opaque, err := d.mark(xattrOpaque)
	if err != nil {
		return err
	}
	d.xwhite = string(opaque) == "x" && kernelHasXattrWhiteouts()
	self, err := d.own(string(opaque) == "y")
	if err != nil {
		return err
	}
	for _, p := range d.n.image {
		fd, err := openBeneath(d.layers.lowers[p.layer].fd(), p.rel, flags)
		if err != nil {
			return err
		}
		d.dir.lower = append(d.dir.lower, fd)
	}
	d.dir.lowers = d.n.image
	d.single = len(d.n.image) == 1 && d.n.image[0].layer == len(d.layers.lowers)-1
	if len(d.n.only) > 0 {
		return nil // only on the way to what was asked for
	}
	return d.finishSelf(self)
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
	if d.opts.Sizes {
		var st unix.Stat_t
		if err := unix.Fstat(d.dir.upper, &st); err != nil {
			return err
		}
		x.size, x.blocks = st.Size, st.Blocks*512
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

// entries goes over what is in the directory.
func (d *openNode) entries() error {
	if len(d.n.only) > 0 {
		return d.onlyEntry(d.n.only[0])
	}
	up := &d.s.upper
	if up.start(d.dir.upper); up.err != nil {
		return up.err
	}
	if len(d.n.image) > 0 && d.kinds&inFiles != 0 {
		d.filter()
	}
	var e dirent
	looked := int64(0)
	for up.next(&e) {
		if err := d.entry(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			d.failed(joinRel(d.rel, string(e.name)), err)
		}
		if looked++; looked&0xfff == 0 && d.s.walk.over.Load() {
			return nil
		}
	}
	if d.opts.Looked != nil {
		d.opts.Looked.Add(looked)
	}
	d.n.sort()
	return up.err
}

// onlyEntry looks at one entry, as if the directory had no other.
func (d *openNode) onlyEntry(name string) error {
	b := append([]byte(name), 0)[:len(name)]
	var st unix.Stat_t
	err := statName(d.dir.upper, b, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = d.entry(&dirent{ino: st.Ino, typ: direntTypeOf(st.Mode), name: b})
	}
	return err
}

// filter reads the image's names, so that most of what was added need not be
// looked up there. Where the image's directory is much larger than the upper's,
// looking up is faster.
func (d *openNode) filter() {
	const perEntry = 32 // bytes of a dirent
	limit := 1 << 20    // 8 MiB
	if up := &d.s.upper; !up.full {
		if up.n < 8*perEntry {
			return
		}
		limit = 256 + 4*up.n/perEntry
	}
	d.s.names.reset()
	var e dirent
	for _, fd := range d.dir.lower {
		for d.s.lower.start(fd); d.s.lower.next(&e); {
			d.s.names.add(e.name)
			if d.s.names.n > limit {
				return
			}
		}
		if d.s.lower.err != nil {
			return // looking up will say why
		}
	}
	d.filtered = true
}

// notInImage says that the image surely has no such name.
func (d *openNode) notInImage(name []byte) bool {
	return len(d.dir.lower) == 0 || d.filtered && !d.s.names.mayHave(name)
}

// entry looks at one entry of the upper.
func (d *openNode) entry(e *dirent) error {
	if e.typ == unix.DT_UNKNOWN {
		var st unix.Stat_t
		if err := statName(d.dir.upper, e.name, &st); err != nil {
			return err
		}
		e.typ = direntTypeOf(st.Mode)
	}
	if e.typ == unix.DT_DIR {
		return d.child(e)
	}
	white, err := d.isAnyWhiteout(e)
	switch {
	case err != nil:
		return err
	case white:
		return d.whiteout(e)
	case d.kinds&inFiles == 0:
		return nil
	}
	return d.file(e)
}

// isAnyWhiteout knows both kinds of whiteouts.
func (d *openNode) isAnyWhiteout(e *dirent) (bool, error) {
	switch {
	case e.typ == unix.DT_CHR:
		return d.isWhiteout(e)
	case e.typ != unix.DT_REG || !d.xwhite:
		return false, nil
	}
	marked, err := d.layers.hasXattr(d.dir.upper, string(e.name), xattrWhiteout)
	if err != nil || !marked {
		return false, err
	}
	var st unix.Stat_t
	err = statName(d.dir.upper, e.name, &st)
	return st.Size == 0, err
}

// isWhiteout tells a whiteout from another character device. The kernel makes
// one inode for many whiteouts; one that was seen is known by its number.
func (d *openNode) isWhiteout(e *dirent) (bool, error) {
	seen := &d.s.whiteout
	if e.ino == seen.ino && seen.ino != 0 && d.dev() == seen.dev {
		return true, nil
	}
	var st unix.Stat_t
	if err := statName(d.dir.upper, e.name, &st); err != nil {
		return false, err
	}
	white := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
	if white && st.Nlink > 1 && st.Ino == e.ino {
		*seen = inode{st.Dev, e.ino}
	}
	return white, nil
}

// dev is the device of the upper's directory.
func (d *openNode) dev() uint64 {
	if d.n.dev == 0 {
		var st unix.Stat_t
		if unix.Fstat(d.dir.upper, &st) == nil {
			d.n.dev = st.Dev
		}
	}
	return d.n.dev
}

// whiteout is over an entry of the image, or over nothing.
func (d *openNode) whiteout(e *dirent) error {
	if d.kinds&(1<<Deleted|1<<Orphan) == 0 {
		return nil
	}
	rec := record{kind: Orphan}
	if !d.notInImage(e.name) {
		var low unix.Stat_t
		_, found, err := d.inImage(e.name, &low)
		if err != nil {
			return err
		}
		if found {
			rec.kind, rec.typ = Deleted, direntTypeOf(low.Mode)
			rec.image = rec.typ
		}
	}
	return d.keep(e, rec, nil)
}

// keep adds a record of a kind that is asked for.
func (d *openNode) keep(e *dirent, rec record, st *unix.Stat_t) error {
	if !d.kinds.Has(rec.kind) {
		return nil
	}
	r := d.n.add(e.name, rec)
	if d.opts.Sizes {
		if st == nil {
			st = new(unix.Stat_t)
			if err := statName(d.dir.upper, e.name, st); err != nil {
				return err
			}
		}
		x := d.n.more(r)
		x.size, x.blocks = st.Size, st.Blocks*512
	}
	return nil
}

// inImage finds the topmost entry of the image.
func (d *openNode) inImage(name []byte, st *unix.Stat_t) (at int, found bool, err error) {
	for i, fd := range d.dir.lower {
		err := statName(fd, name, st)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return i, false, err
		}
		white, err := d.isLowerWhiteout(i, name, st)
		return i, err == nil && !white, err
	}
	return 0, false, nil
}

func (d *openNode) isLowerWhiteout(i int, name []byte, st *unix.Stat_t) (bool, error) {
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFCHR:
		return st.Rdev == 0, nil
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != 0 || !kernelHasXattrWhiteouts():
		return false, nil
	}
	if d.xmarks == nil {
		d.xmarks = make([]int, len(d.dir.lower))
	}
	if d.xmarks[i] == 0 {
		opaque, err := d.layers.xattr(d.dir.lower[i], ".", xattrOpaque)
		if err != nil {
			return false, err
		}
		d.xmarks[i] = 1
		if string(opaque) == "x" {
			d.xmarks[i] = 2
		}
	}
	if d.xmarks[i] == 1 {
		return false, nil
	}
	return d.layers.hasXattr(d.dir.lower[i], string(name), xattrWhiteout)
}

// child notes a directory to walk, and what the image has there.
func (d *openNode) child(e *dirent) error {
	rec := record{kind: isDirectory, typ: unix.DT_DIR}
	var image []place
	switch {
	case d.notInImage(e.name):
	case d.single:
		var low unix.Stat_t
		_, found, err := d.inImage(e.name, &low)
		if err != nil {
			return err
		}
		if found {
			rec.image = direntTypeOf(low.Mode)
		}
	default:
		low, found, err := d.dir.lowerEntry(string(e.name))
		if err != nil {
			return err
		}
		if found {
			rec.image, image = direntTypeOf(low.stat.Mode), low.dirs
		}
	}
	r := d.n.add(e.name, rec)
	if len(image) > 0 {
		d.n.more(r).image = image
	}
	return nil
}
