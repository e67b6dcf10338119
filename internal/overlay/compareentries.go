// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"

	"golang.org/x/sys/unix"
)

// entries hands each entry of the upper's directory to look, and keeps what that
// records in order. What is gone by then is none. With filter, the image's names
// are read first.
func (d *openNode) entries(filter bool, look func(*dirent) error) error {
	if len(d.n.only) > 0 {
		return d.onlyEntry(d.n.only[0], look)
	}
	up := &d.s.upper
	if up.start(d.dir.upper); up.err != nil {
		return up.err
	}
	if filter {
		d.filter()
	}
	var e dirent
	looked := int64(0)
	for up.next(&e) {
		if err := look(&e); err != nil && !errors.Is(err, unix.ENOENT) {
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
func (d *openNode) onlyEntry(name string, look func(*dirent) error) error {
	b := append([]byte(name), 0)[:len(name)]
	var st unix.Stat_t
	err := statName(d.dir.upper, b, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = look(&dirent{ino: st.Ino, typ: direntTypeOf(st.Mode), name: b})
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

// knowType asks for an entry's type where the file system does not tell it with
// the name.
func (d *openNode) knowType(e *dirent) error {
	if e.typ != unix.DT_UNKNOWN {
		return nil
	}
	var st unix.Stat_t
	err := statName(d.dir.upper, e.name, &st)
	e.typ = direntTypeOf(st.Mode)
	return err
}

// entry looks at one entry of the upper.
func (d *openNode) entry(e *dirent) error {
	if err := d.knowType(e); err != nil {
		return err
	}
	if d.opts.Room != nil {
		var st unix.Stat_t
		if err := statName(d.dir.upper, e.name, &st); err != nil {
			return err
		}
		d.opts.Room.add(&st)
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
	d.keep(e, rec)
	return nil
}

// keep adds a record of a kind that is asked for.
func (d *openNode) keep(e *dirent, rec record) {
	if d.kinds.Has(rec.kind) {
		d.n.add(e.name, rec)
	}
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
