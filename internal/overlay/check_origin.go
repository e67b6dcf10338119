// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"golang.org/x/sys/unix"
)

// evidence says whether the lower is the one that the upper was made on. Only
// directories are asked: one that is merged under its own name was copied up from
// there, while a file may have been moved over another one.
type evidence struct {
	same, changed int
	example       string // of a changed one
	depends       bool   // something of the upper needs the lower that it was made on
}

// rootOrigin looks at the mark that an overlay with an index leaves on the
// upper's root.
func (c *checker) rootOrigin() error {
	if len(c.layers.lowers) == 0 {
		return nil
	}
	fd, err := openBeneath(c.layers.upper.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	value, err := c.layers.xattr(fd, ".", xattrOrigin)
	if err != nil {
		return err
	}
	c.weigh(originKey(value), place{0, "."}, ".")
	return nil
}

// dirOrigin compares where a directory says it was copied up from with the
// lower's directory that it is merged with.
func (e *checkedEntry) dirOrigin(low place) error {
	if !e.marks.origin || e.marks.opaque == "y" {
		return nil
	}
	value, err := e.checker.layers.xattr(e.openDir.upper, e.name, xattrOrigin)
	if err != nil {
		return err
	}
	e.weigh(originKey(value), low, e.rel)
	return nil
}

func (c *checker) weigh(origin string, low place, rel string) {
	key := c.handleAt(low)
	switch {
	case origin == "" || key == "": // the file system cannot tell
	case origin == key:
		c.evidence.same++
	default:
		if c.evidence.changed == 0 {
			c.evidence.example = rel
		}
		c.evidence.changed++
	}
}

// handleAt is the file handle of a lower entry, as an origin has it; "" where the
// file system has none.
func (c *checker) handleAt(p place) string {
	fd, err := openBeneath(c.layers.lowers[p.layer].fd(), p.rel, unix.O_PATH)
	if err != nil {
		return ""
	}
	defer closeFD(fd)
	handle, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return ""
	}
	return handleKey(byte(handle.Type()), handle.Bytes())
}

// lowerChanged makes one finding of the evidence.
func (c *checker) lowerChanged() {
	ev := c.evidence
	if ev.changed == 0 {
		return
	}
	f := newFinding(LowerChanged, ".", "%d of %d copied-up directories come from another lower than this one, such as %q",
		ev.changed, ev.changed+ev.same, ev.example)
	f.Severity = Notice
	f.Effect = "inode numbers of copied-up files change; else none, as the overlay is used"
	if ev.depends || len(c.origins) > 0 || c.config.Index || c.config.NFSExport {
		f.Severity = Problem
		f.Effect = "redirects, metacopies or the index may lead to the wrong entries of the image"
	}
	c.found(f)
}

// noteOrigin remembers that the directory holds an entry that was copied up.
// Where the lower is another one by now, the kernel no longer heeds the origin,
// so only one that is right counts.
func (e *checkedEntry) noteOrigin() error {
	if !e.marks.origin || e.copiedUp != "" || e.checkedDir.marks.impure || !e.hasLower {
		return nil
	}
	value, err := e.checker.layers.xattr(e.openDir.upper, e.name, xattrOrigin)
	if err != nil {
		return err
	}
	if key := originKey(value); key != "" && key == e.handleAt(e.low.place) {
		e.copiedUp = e.name
	}
	return nil
}
