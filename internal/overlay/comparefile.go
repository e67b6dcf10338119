// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// file compares an entry that is neither a directory nor a whiteout.
func (d *openNode) file(e *dirent) error {
	rec := record{kind: Added, typ: e.typ}
	if d.notInImage(e.name) {
		d.keep(e, rec)
		return nil
	}
	var up, low unix.Stat_t
	at, found, err := d.inImage(e.name, &low)
	if err != nil {
		return err
	}
	if !found {
		d.keep(e, rec)
		return nil
	}
	rec.image = direntTypeOf(low.Mode)
	if rec.image != e.typ {
		return d.otherType(e, rec)
	}
	if d.kinds&(1<<Modified|1<<Metadata|1<<Redundant) == 0 {
		return nil
	}
	if err := statName(d.dir.upper, e.name, &up); err != nil {
		return err
	}
	p := pair{openNode: d, name: e.name, at: at, up: &up, low: &low}
	if err := p.compare(); err != nil {
		return err
	}
	rec.kind, rec.fields, rec.compared = p.kind(), uint8(p.fields), p.compared
	if d.opts.Room != nil && rec.kind == Redundant {
		d.opts.Room.redundant.Add(up.Blocks * 512)
	}
	d.keep(e, rec)
	return nil
}

func (d *openNode) otherType(e *dirent, rec record) error {
	rec.kind = TypeChanged
	if !d.kinds.Has(TypeChanged) {
		return nil
	}
	if d.keep(e, rec); rec.image != unix.DT_DIR {
		return nil
	}
	low, _, err := d.dir.lowerEntry(string(e.name))
	if err != nil {
		return err
	}
	hides, err := d.countHidden(low.dirs, "")
	d.n.more(&d.n.recs[len(d.n.recs)-1]).hides = hides
	return err
}

// pair is an upper entry and the image's, of one type.
type pair struct {
	*openNode
	name     []byte
	at       int // in which of the image's directories
	up, low  *unix.Stat_t
	fields   Fields
	compared Compared
	differ   bool // in content: known, or by all likelihood
}

func (p *pair) kind() Kind {
	switch {
	case p.differ:
		return Modified
	case p.fields != 0:
		return Metadata
	}
	return Redundant
}

// compare fills fields and compared.
func (p *pair) compare() (err error) {
	p.fields = compareOwners(p.up, p.low)
	if p.up.Mtim != p.low.Mtim {
		p.fields |= FieldTimes
	}
	switch p.up.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = p.compareFiles()
	case unix.S_IFLNK:
		err = p.compareTargets()
	case unix.S_IFCHR, unix.S_IFBLK:
		if p.up.Rdev != p.low.Rdev {
			p.found(FieldDevice)
		}
	}
	if err != nil || p.differ && !p.opts.Content || !p.differ && p.kinds&(1<<Metadata|1<<Redundant) == 0 {
		return err
	}
	return p.compareXattrs()
}

func (p *pair) found(f Fields) {
	p.fields |= f
	p.differ = true
}

// compareFiles compares regular files: for certain, or by size and time.
func (p *pair) compareFiles() error {
	p.compared = ComparedContent
	if p.up.Size != p.low.Size {
		p.found(FieldContent)
		return nil
	}
	if p.up.Size == 0 {
		return nil
	}
	if p.layers.metacopy && (p.opts.Content || p.fields&FieldTimes != 0) {
		if own, err := p.showsImage(); own || err != nil {
			return err
		}
	}
	if p.opts.Content {
		same, err := p.sameContent()
		switch {
		case err == nil:
			if !same {
				p.found(FieldContent)
			}
			return nil
		case !errors.Is(err, errNoData):
			return err
		}
	}
	p.compared = ComparedTimes
	p.differ = p.fields&FieldTimes != 0
	return nil
}

func (p *pair) compareTargets() error {
	if p.up.Size != p.low.Size {
		p.found(FieldTarget)
		return nil
	}
	var targets [2][]byte
	for side, fd := range [...]int{p.dir.upper, p.dir.lower[p.at]} {
		buf := make([]byte, p.up.Size+1)
		n, err := unix.Readlinkat(fd, string(p.name), buf)
		if err != nil {
			return err
		}
		targets[side] = buf[:n]
	}
	if !bytes.Equal(targets[0], targets[1]) {
		p.found(FieldTarget)
	}
	return nil
}

func (p *pair) compareXattrs() error {
	var lists [2][]byte
	fds := [...]int{p.dir.upper, p.dir.lower[p.at]}
	for side, fd := range fds {
		var err error
		if lists[side], err = listXattrs(fd, p.name, &p.s.lists[side]); err != nil {
			return err
		}
	}
	same, err := p.sameXattrs(lists[0], lists[1], func(side int, name string, buf []byte) (int, error) {
		return unix.Lgetxattr(procPath(fds[side])+"/"+string(p.name), name, buf)
	})
	if !same {
		p.fields |= FieldXattrs
	}
	return err
}

// compareOwners compares what the two entries' inodes say besides their times.
func compareOwners(up, low *unix.Stat_t) (f Fields) {
	if up.Mode&0o7777 != low.Mode&0o7777 {
		f |= FieldMode
	}
	if up.Uid != low.Uid || up.Gid != low.Gid {
		f |= FieldOwner
	}
	return f
}

// sameXattrs compares two lists of extended attributes and their values, without
// the overlay's own.
func (d *openNode) sameXattrs(up, low []byte, get func(side int, name string, buf []byte) (int, error)) (bool, error) {
	if len(up) == 0 && len(low) == 0 {
		return true, nil
	}
	names, others := d.userXattrs(up), d.userXattrs(low)
	if !slices.Equal(names, others) {
		return false, nil
	}
	for _, name := range names {
		var values [2][]byte
		for side := range values {
			buf := &d.s.values[side]
			if len(*buf) == 0 {
				*buf = make([]byte, 1<<10)
			}
			value, err := growing(buf, func(b []byte) (int, error) { return get(side, name, b) })
			if errors.Is(err, unix.ENODATA) {
				return false, nil // removed since
			}
			if err != nil {
				return false, err
			}
			values[side] = value
		}
		if !bytes.Equal(values[0], values[1]) {
			return false, nil
		}
	}
	return true, nil
}

// userXattrs are the names in a list, sorted, without those that only mean
// something to the overlay. An attribute of an overlay inside this one has the
// prefix twice, and counts.
func (d *openNode) userXattrs(list []byte) []string {
	var names []string
	for len(list) > 0 {
		var name string
		name, list = cutName(list)
		rest, private := strings.CutPrefix(name, d.layers.prefix)
		if !private || strings.HasPrefix(rest, "overlay.") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
