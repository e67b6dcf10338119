// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// identity tells whether an entry is still what it was: nothing can change it, or
// what is below it, without a change of these.
type identity struct {
	Ino  uint64 `json:"ino"`
	Mode uint32 `json:"mode"`
	// Sum is over all entries of the tree: names, inodes, sizes, and the times of
	// the last change of content and attributes.
	Sum uint64 `json:"sum,omitempty"`
}

// identify reads the identity of dir/name.
func identify(dir *os.File, name string) (identity, error) {
	var id identity
	sum := fnv.New64a()
	err := walkTree(dir, name, func(n *node) error {
		if n.rel == "." {
			id.Ino, id.Mode = n.stat.Ino, n.stat.Mode
		}
		addNode(sum, n)
		return nil
	})
	id.Sum = sum.Sum64()
	return id, err
}

func addNode(sum hash.Hash, n *node) {
	var b [8]byte
	add := func(v uint64) {
		binary.LittleEndian.PutUint64(b[:], v)
		_, _ = sum.Write(b[:]) // a hash takes everything
	}
	_, _ = sum.Write([]byte(n.rel + "\x00"))
	st := &n.stat
	size := uint64(st.Size)
	if n.isDir() {
		size = 0 // what it is differs by file system
	}
	changed := uint64(unix.TimespecToNsec(st.Ctim))
	if n.rel == "." {
		changed = 0 // an undo that was cut off has moved it away, and back
	}
	for _, v := range []uint64{
		st.Ino, uint64(st.Mode), st.Rdev, size, uint64(st.Uid)<<32 | uint64(st.Gid),
		uint64(unix.TimespecToNsec(st.Mtim)), changed,
	} {
		add(v)
	}
}
