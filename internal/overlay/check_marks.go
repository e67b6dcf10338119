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

// marksOf lists the xattrs of name in an open directory, and reads what is to
// know of them.
func (c *checker) marksOf(dirfd int, name string) (entryMarks, error) {
	list, err := c.attributesOf(dirfd, name)
	if err != nil || len(list) == 0 {
		return entryMarks{}, err
	}
	var m entryMarks
	own, other := c.layers.prefix, otherPrefix(c.layers.prefix)
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if key, ok := strings.CutPrefix(attr, own); ok {
			switch key {
			case xattrOpaque:
				value, err := c.layers.xattr(dirfd, name, key)
				if err != nil {
					return m, err
				}
				m.opaque = string(value)
			case xattrRedirect:
				value, err := c.layers.xattr(dirfd, name, key)
				if err != nil {
					return m, err
				}
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
		}
		if key, ok := strings.CutPrefix(attr, other); ok {
			switch key {
			case xattrOpaque:
				foreign := Layers{prefix: other}
				value, err := foreign.xattr(dirfd, name, key)
				if err != nil {
					return m, err
				}
				m.foreign.opaque = string(value)
			case xattrRedirect:
				m.foreign.redirect = true
			case xattrMetacopy:
				m.foreign.metacopy = true
			case xattrWhiteout:
				m.foreign.whiteout = true
			}
		}
	}
	return m, nil
}

func (c *checker) attributesOf(dirfd int, name string) ([]byte, error) {
	ended := append([]byte(name), 0) // as a system call wants it
	return listXattrs(dirfd, ended[:len(name)], &c.list)
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
		open, err := e.checker.layers.open(Dir{Rel: ".", lowers: []place{parentPlace(e.low.place)}})
		if err != nil {
			return err
		}
		defer open.close()
		_, name := splitRel(e.low.rel)
		low, err := e.marksOf(open.lower[0], name)
		if err != nil {
			return err
		}
		if low.foreign != (foreignMarks{}) {
			return nil
		}
	}
	mark, effect, err := e.foreignMark()
	if err != nil || mark == "" {
		return err
	}
	finding := newFinding(WrongNamespace, e.rel, "%s%s, which a mount that reads %s* does not heed",
		otherPrefix(e.checker.layers.prefix), mark, e.checker.layers.prefix)
	finding.Effect = effect
	e.found(finding)
	return nil
}

func (e *checkedEntry) foreignMark() (mark, effect string, err error) {
	f := e.marks.foreign
	alt := *e.checker.layers
	alt.prefix, alt.redirect = otherPrefix(alt.prefix), true
	there := &openDir{Dir: e.Dir, layers: &alt, upper: e.openDir.upper, lower: e.openDir.lower}
	isFile := e.up.stat.Mode&unix.S_IFMT == unix.S_IFREG
	switch {
	case e.up.isDir() && f.opaque == "y" && e.marks.opaque != "y" && e.hasLower && e.low.isDir():
		return xattrOpaque, "what was deleted with the directory shows again", nil
	case e.up.isDir() && f.redirect && e.marks.redirect == "" && !e.hasLower:
		from, err := there.mergedBelow(e.name)
		if len(from) == 0 {
			return "", "", err
		}
		return xattrRedirect, "what the image had in the renamed directory is gone from it", err
	case isFile && f.metacopy && !e.marks.metacopy && e.hasLower && e.low.stat.Mode&unix.S_IFMT == unix.S_IFREG:
		return xattrMetacopy, "the file shows zeros instead of its content", nil
	case isFile && f.whiteout && e.up.stat.Size == 0 && e.hasLower && e.checkedDir.marks.foreign.opaque == "x":
		return xattrWhiteout, "a deleted file shows as an empty one", nil
	}
	return "", "", nil
}

func parentPlace(p place) place {
	dir, _ := splitRel(p.rel)
	return place{p.layer, dir}
}
