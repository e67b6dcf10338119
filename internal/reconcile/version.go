// SPDX-License-Identifier: Apache-2.0

package reconcile

// Type is what there is under a name.
type Type string

// The types. A whiteout and an opaque directory are only ever the upper's.
const (
	Missing   Type = "missing"
	File      Type = "file"
	Directory Type = "directory"
	Symlink   Type = "symlink"
	CharDev   Type = "chardev"
	BlockDev  Type = "blockdev"
	Fifo      Type = "fifo"
	Socket    Type = "socket"
	Whiteout  Type = "whiteout"
	Opaque    Type = "opaque"
)

// Version is what one of the three has under a name. It is plain data, so that
// what is decided from it can be decided again.
type Version struct {
	// Known is false where there is no record of what a baseline had. That is not
	// the same as a record of nothing, which is known to be Missing.
	Known    bool
	Type     Type
	Mode     uint32 // permission bits
	UID, GID uint32
	Size     int64  // of a file
	Digest   string // of a file's content
	// Follows: a copy of metadata only, which shows the content of whatever image
	// lies under it.
	Follows bool
	Target  string // of a symbolic link
	Device  uint64
	Xattrs  string // a digest of all, "" for none
}

// Nothing is a version that is known to be missing.
var Nothing = Version{Known: true, Type: Missing}

// Exists says that there is an entry that people can see.
func (v Version) Exists() bool { return v.Known && v.Type != Missing && v.Type != Whiteout }

// Equal says whether two entries are the same to their readers: content, mode,
// owner and extended attributes. Times are not compared, for they differ between
// builds of an image. What is not known is equal to nothing.
func (v Version) Equal(w Version) bool {
	switch {
	case !v.Exists() || !w.Exists() || v.Type != w.Type || v.Type == Opaque:
		return false
	case v.UID != w.UID || v.GID != w.GID || v.Xattrs != w.Xattrs:
		return false
	case v.Mode != w.Mode && v.Type != Symlink:
		return false
	}
	switch v.Type {
	case File:
		return v.sameContent(w)
	case Symlink:
		return v.Target == w.Target
	case CharDev, BlockDev:
		return v.Device == w.Device
	default:
		return true
	}
}

func (v Version) sameContent(w Version) bool {
	if v.Follows || w.Follows {
		return true
	}
	return v.Size == w.Size && (v.Size == 0 || v.Digest != "" && v.Digest == w.Digest)
}
