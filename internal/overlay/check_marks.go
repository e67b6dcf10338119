// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"strings"

	"golang.org/x/sys/unix"
)

// xattrImpure marks a directory with copied-up entries in it.
const xattrImpure = "impure"

// entryMarks are the overlay's xattrs of one entry.
type entryMarks struct {
	opaque   string
	redirect string
	metacopy bool
	origin   bool
	impure   bool
	whiteout bool
	// foreign are those in the other name space, which this mount does not read.
	foreign foreignMarks
}

type foreignMarks struct {
	opaque   string
	redirect bool
	metacopy bool
	whiteout bool
}

// readMarks reads what is to know of the xattrs of name in an open directory,
// which list has the names of.
func (c *checker) readMarks(dirfd int, name string, list []byte) (entryMarks, error) {
	var m entryMarks
	own, other := c.layers.prefix, otherPrefix(c.layers.prefix)
	for len(list) > 0 {
		var attr string
		attr, list = cutName(list)
		if key, ok := strings.CutPrefix(attr, own); ok {
			if err := m.read(c.layers, dirfd, name, key); err != nil {
				return m, err
			}
		} else if key, ok := strings.CutPrefix(attr, other); ok {
			var f entryMarks
			if err := f.read(&Layers{prefix: other}, dirfd, name, key); err != nil {
				return m, err
			}
			m.foreign.opaque += f.opaque
			m.foreign.redirect = m.foreign.redirect || f.redirect != ""
			m.foreign.metacopy = m.foreign.metacopy || f.metacopy
			m.foreign.whiteout = m.foreign.whiteout || f.whiteout
		}
	}
	return m, nil
}

// read reads one mark.
func (m *entryMarks) read(l *Layers, dirfd int, name, key string) (err error) {
	var value []byte
	switch key {
	case xattrOpaque, xattrRedirect:
		if value, err = l.xattr(dirfd, name, key); err != nil {
			return err
		}
	}
	switch key {
	case xattrOpaque:
		m.opaque = string(value)
	case xattrRedirect:
		m.redirect = string(value)
	case xattrOrigin:
		m.origin = true
	case xattrImpure:
		m.impure = true
	case xattrMetacopy:
		m.metacopy = true
	case xattrWhiteout:
		m.whiteout = true
	}
	return nil
}

func otherPrefix(prefix string) string {
	return Config{UserXattr: prefix != Config{UserXattr: true}.xattrPrefix()}.xattrPrefix()
}

// wrongNamespace finds marks that this mount does not read, where they would
// change what it shows. An entry of the image that bears the same mark is not
// meant for this overlay: the upper's is a copy of it.
func (e *checkedEntry) wrongNamespace() error {
	f := e.marks.foreign
	if f == (foreignMarks{}) {
		return nil
	}
	if e.hasLower {
		same, err := e.imageHasForeign()
		if same || err != nil {
			return err
		}
	}
	mark, effect, err := e.foreignMark()
	if err != nil || mark == "" {
		return err
	}
	finding := newFinding(WrongNamespace, e.path(), "%s%s, which a mount that reads %s* does not heed",
		otherPrefix(e.checker.layers.prefix), mark, e.checker.layers.prefix)
	finding.Effect = effect
	e.found(finding)
	return nil
}

// imageHasForeign says whether the image's entry of that name bears such marks.
func (e *checkedEntry) imageHasForeign() (bool, error) {
	low, err := e.lower()
	if err != nil {
		return false, err
	}
	at := parentPlace(low.place)
	fd, err := openBeneath(e.checker.layers.lowers[at.layer].fd(), at.rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false, err
	}
	defer closeFD(fd)
	_, name := splitRel(low.rel)
	var buf []byte
	list, err := listXattrs(fd, append([]byte(name), 0)[:len(name)], &buf)
	if err != nil {
		return false, err
	}
	m, err := e.readMarks(fd, name, list)
	return m.foreign != (foreignMarks{}), err
}

func (e *checkedEntry) foreignMark() (mark, effect string, err error) {
	f := e.marks.foreign
	alt := *e.checker.layers
	alt.prefix, alt.redirect = otherPrefix(alt.prefix), true
	there := e.dir
	there.layers = &alt
	isDir, isFile := e.typ == unix.DT_DIR, e.typ == unix.DT_REG
	switch {
	case isDir && f.opaque == "y" && e.marks.opaque != "y" && e.lowMode&unix.S_IFMT == unix.S_IFDIR:
		return xattrOpaque, "what was deleted with the directory shows again", nil
	case isDir && f.redirect && e.marks.redirect == "" && !e.hasLower:
		from, err := there.mergedBelow(e.name)
		if len(from) == 0 {
			return "", "", err
		}
		return xattrRedirect, "what the image had in the renamed directory is gone from it", err
	case isFile && f.metacopy && !e.marks.metacopy && e.lowMode&unix.S_IFMT == unix.S_IFREG:
		return xattrMetacopy, "the file shows zeros instead of its content", nil
	case isFile && f.whiteout && e.hasLower && e.checkedDir.marks.foreign.opaque == "x":
		if empty, err := e.isEmpty(); !empty || err != nil {
			return "", "", err
		}
		return xattrWhiteout, "a deleted file shows as an empty one", nil
	}
	return "", "", nil
}

func parentPlace(p place) place {
	dir, _ := splitRel(p.rel)
	return place{p.layer, dir}
}
