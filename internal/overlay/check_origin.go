// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"encoding/hex"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// evidence says whether the lower is the one that the upper was made on. Only
// directories are asked: one that is merged under its own name was copied up from
// there, while a file may have been moved over another one.
type evidence struct {
	same, changed int
	unheeded      int    // changed, on a lower where the kernel does not look for origins
	elsewhere     int    // of the changed: on another file system, as the UUIDs say
	example       string // of a changed one
	depends       bool   // something of the upper needs the lower that it was made on
}

func (v *evidence) add(w evidence) {
	v.same += w.same
	v.elsewhere += w.elsewhere
	if v.example == "" {
		v.example = w.example
	}
	v.changed += w.changed
	v.unheeded += w.unheeded
	v.depends = v.depends || w.depends
}

// rootOrigin looks at the mark that an overlay with an index leaves on the
// upper's root.
func (c *checker) rootOrigin() error {
	for _, l := range c.layers.lowers {
		c.uuids = append(c.uuids, uuidOf(l))
	}
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
	c.weigh(&c.evidence, c.cameFrom(value, place{0, "."}), 0, ".")
	c.evidence.depends = c.evidence.changed > 0 // with an index, the kernel refuses to mount it
	return nil
}

// dirOrigin compares where a directory says it was copied up from with the
// lower's directory that it is merged with.
func (e *checkedEntry) dirOrigin(low place) error {
	if !e.marks.origin || e.marks.opaque == "y" {
		return nil
	}
	value, err := e.checker.layers.xattr(e.dir.upper, e.name, xattrOrigin)
	if err != nil {
		return err
	}
	e.weigh(&e.evidence, e.cameFrom(value, low), low.layer, e.path())
	return nil
}

// source is what an origin says about a lower entry.
type source int

const (
	unknownSource   source = iota // nothing: the file system cannot tell
	thisSource                    // it was copied up from it
	otherSource                   // from another one
	otherDiskSource               // from another one, on a file system with another UUID
)

// cameFrom says whether an origin names a lower entry. The kernel looks for the
// entry by its file handle, on the lower with the file system's UUID.
func (c *checker) cameFrom(origin []byte, low place) source {
	key := originKey(origin)
	if key == "" {
		return unknownSource
	}
	var uuid [16]byte // zero where the overlay was mounted with uuid=null, or the file system has none
	copy(uuid[:], origin[fbUUID:])
	if lower := c.uuids[low.layer]; uuid != lower && uuid != [16]byte{} && lower != [16]byte{} {
		return otherDiskSource
	}
	switch c.handleOf(low) {
	case "":
		return unknownSource
	case key:
		return thisSource
	}
	return otherSource
}

// weigh adds to the evidence what an entry that is merged with one of a lower
// says.
func (c *checker) weigh(v *evidence, s source, lower int, rel string) {
	switch s {
	case unknownSource:
		return
	case thisSource:
		v.same++
		return
	case otherDiskSource:
		v.elsewhere++
	case otherSource:
	}
	if v.example == "" {
		v.example = rel
	}
	if c.config.followsOrigins(c.layers.lowers[lower]) {
		v.changed++
	} else {
		v.unheeded++
	}
}

// handleOf is the file handle of a lower entry, as an origin has it; "" where the
// file system has none.
func (c *checker) handleOf(p place) string {
	fd, err := openBeneath(c.layers.lowers[p.layer].fd(), p.rel, unix.O_PATH)
	if err != nil {
		return ""
	}
	defer closeFD(fd)
	return handleAt(fd, "")
}

// fsGetUUID is FS_IOC_GETFSUUID of Linux 6.9 and later.
const fsGetUUID = 0x80111500

// uuidOf is the UUID of the file system that a layer is on: as the kernel says
// it, or udev; zero where neither does.
func uuidOf(l *Layer) (uuid [16]byte) {
	fd, err := openBeneath(l.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err == nil {
		defer closeFD(fd)
		var answer struct {
			length uint8
			uuid   [16]byte
		}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsGetUUID, uintptr(unsafe.Pointer(&answer)))
		if errno == 0 && answer.length == 16 {
			return answer.uuid
		}
	}
	text := strings.ReplaceAll(imageOfFileSystem(l).UUID, "-", "")
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == len(uuid) {
		copy(uuid[:], raw)
	}
	return uuid
}

// lowerChanged makes one finding of the evidence.
func (c *checker) lowerChanged() {
	ev := c.evidence
	depends := ev.depends || len(c.origins) > 0 || c.config.Index || c.config.NFSExport
	if depends {
		ev.changed += ev.unheeded
	}
	if ev.changed == 0 {
		return
	}
	f := newFinding(LowerChanged, ".", "%d of %d copied-up directories come from another lower than this one, such as %q",
		ev.changed, ev.changed+ev.same, ev.example)
	if ev.elsewhere > 0 {
		f.What += "; its file system had another UUID"
	}
	f.Severity = Notice
	f.Effect = "inode numbers of copied-up files change; else none, as the overlay is used"
	if depends {
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
	value, err := e.checker.layers.xattr(e.dir.upper, e.name, xattrOrigin)
	if err != nil {
		return err
	}
	low, err := e.lower()
	if err == nil && e.cameFrom(value, low.place) == thisSource {
		e.copiedUp = e.name
	}
	return err
}
