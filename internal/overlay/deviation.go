// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Kind says in which way an upper entry makes the merged view differ from the
// image, which is what the lower layers show together.
type Kind uint8

// The kinds. An entry is of one kind, the first of these that applies, but that
// Redundant and Orphan do not change what is seen.
const (
	Added       Kind = iota // the image has nothing under that name
	Modified                // the same type of entry with other content, target or device number
	Metadata                // the same content with another owner, mode, time or extended attribute
	Deleted                 // a whiteout over an entry of the image
	Opaque                  // a directory that hides what the image has in it
	Redirected              // a directory of the image that was renamed
	TypeChanged             // an entry of another type than the image's
	Redundant               // a copy that is equal to what the image has
	Orphan                  // a whiteout over nothing
	numKinds
)

var kindNames = [numKinds]string{
	"added", "modified", "metadata", "deleted", "opaque", "redirected", "type", "redundant", "orphan",
}

// kindLetters are the kinds as one letter each.
const kindLetters = "AMPDORT=W"

func (k Kind) String() string { return kindNames[k] }

// Letter is the kind as one letter: A, M, P (a property), D, O, R, T, = or W (a
// whiteout over nothing).
func (k Kind) Letter() byte { return kindLetters[k] }

// ParseKind reads a kind by its name or its letter.
func ParseKind(s string) (Kind, error) {
	for k := range numKinds {
		if s == kindNames[k] || s == kindLetters[k:k+1] {
			return k, nil
		}
	}
	return 0, fmt.Errorf("no kind of deviation is called %q", s)
}

// Kinds is a set of kinds.
type Kinds uint16

// AllKinds are all of them; Differences are those that change what is seen.
const (
	AllKinds    Kinds = 1<<numKinds - 1
	Differences       = AllKinds &^ (1<<Redundant | 1<<Orphan)
)

// KindsOf is the set of the kinds given.
func KindsOf(kinds ...Kind) Kinds {
	var s Kinds
	for _, k := range kinds {
		s |= 1 << k
	}
	return s
}

// Has says whether k is in the set.
func (s Kinds) Has(k Kind) bool { return s&(1<<k) != 0 }

// Fields are what differs between an upper entry and the image's.
type Fields uint16

// The fields. Times are the modification time only, and that of a directory is
// not looked at: it changes with every entry that is copied up into it.
const (
	FieldContent Fields = 1 << iota // known to differ: by size, or because it was read
	FieldTarget                     // of a symbolic link
	FieldDevice                     // a device's number
	FieldMode                       // permission bits
	FieldOwner                      // user or group
	FieldXattrs                     // extended attributes, access control lists and capabilities among them
	FieldTimes
)

var fieldNames = []string{"content", "target", "device", "mode", "owner", "xattrs", "times"}

// Names lists the fields by name.
func (f Fields) Names() []string {
	var names []string
	for i, name := range fieldNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Compared says how the content of a regular file was compared.
type Compared uint8

// The ways, from the weakest.
const (
	NotCompared     Compared = iota // there was nothing to compare
	ComparedTimes                   // by size and modification time: equal or different by all likelihood
	ComparedContent                 // for certain: by different sizes, byte by byte, or because a metacopy shows the image's own
)

func (c Compared) String() string { return [...]string{"", "times", "content"}[c] }

// FileType is the type of a file, as a bit pattern of st_mode.
type FileType uint32

func (t FileType) String() string {
	switch t {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFCHR:
		return "chardev"
	case unix.S_IFBLK:
		return "blockdev"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	return ""
}

// Deviation is one upper entry that makes the merged view differ from the image.
type Deviation struct {
	Path  string // from the overlay's root, "." for the root itself
	Kind  Kind
	Type  FileType // of the entry as it is seen; of the image's, where it was deleted
	Image FileType // of the image's entry; 0 where it has none

	// Fields are what differs, for Modified and Metadata, and for directories of
	// any kind that the image has too. The extended attributes of a file with
	// other content are compared only when DiffOptions.Content is set.
	Fields   Fields
	Compared Compared
	// Hides counts the entries of the image that the entry hides and that have no
	// Deviation of their own, for Opaque, Redirected and TypeChanged.
	Hides int64
	// From is where the image has what was renamed: for Redirected, from the
	// overlay's root. All below such a directory is compared with what was renamed.
	From string
}

// DiffOptions say what to compare.
type DiffOptions struct {
	// Paths, from the overlay's root, limit the comparison to these entries and
	// what is below; none stands for all.
	Paths []string
	// Kinds are those of interest; 0 stands for Differences. The fewer, the less
	// is read.
	Kinds Kinds
	// Content compares the content of files, and not size and times only.
	Content bool
	// Merged reports, as Redundant, the upper's directories that are equal to the
	// image's, too.
	Merged bool
	// Room, if not nil, adds up the room that the upper's entries take.
	Room *Room
	// Match, if not nil, chooses among the deviations by path.
	Match func(path string) bool
	// Looked, if not nil, counts the upper entries that were looked at, while it
	// goes on.
	Looked *atomic.Int64
	// Failed, if not nil, is told what could not be read, and the comparison goes
	// on; else it ends there.
	Failed func(path string, err error)
}

func (o *DiffOptions) kinds() Kinds {
	if o.Kinds == 0 {
		return Differences
	}
	return o.Kinds
}

// String lists the kinds of the set by name.
func (s Kinds) String() string {
	var names []string
	for k := range numKinds {
		if s.Has(k) {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, ",")
}
