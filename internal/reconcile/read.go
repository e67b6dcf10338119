// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"encoding/hex"
	"hash"
	"io"
	"strconv"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// side is where versions are read from: the upper, the image, or a former image.
type side struct{ *overlay.Reader }

// version reads what there is at a path from the overlay's root, but for the
// content of a file.
func (s side) version(rel string) (Version, error) {
	a, err := s.Read(rel)
	if err != nil {
		return Version{}, err
	}
	v := Version{Known: true, Type: typeOf(&a), Follows: a.Metacopy}
	if v.Type == Missing || v.Type == Whiteout {
		return v, nil
	}
	v.Mode, v.UID, v.GID = a.Stat.Mode&0o7777, a.Stat.Uid, a.Stat.Gid
	v.Target, v.Xattrs = a.Target, digestXattrs(a.Xattrs)
	switch v.Type {
	case File:
		v.Size = a.Stat.Size
	case CharDev, BlockDev:
		v.Device = uint64(a.Stat.Rdev) //nolint:unconvert // 32 bits on some machines
	default:
	}
	return v, nil
}

// fill reads a file's content, if it is not known yet.
func (s side) fill(v *Version, rel string) error {
	if v.Type != File || v.Digest != "" || v.Size == 0 || v.Follows {
		return nil
	}
	f, err := s.Open(rel)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := newDigest()
	buffer := make([]byte, min(v.Size, 32<<10))
	if _, err := io.CopyBuffer(h, onlyReader{f}, buffer); err != nil {
		return err
	}
	v.Digest = h.String()
	return nil
}

// onlyReader hides what else a file can do: to copy into a digest, reading is
// all it takes.
type onlyReader struct{ io.Reader }

// digestName is what baselines call the digest that is in them.
const digestName = "blake2s"

// digest tells contents apart, also those that somebody made to be mistaken for
// each other. BLAKE2s (RFC 7693) is fast on processors of 32 bits.
type digest struct{ hash.Hash }

func newDigest() digest {
	h, _ := blake2s.New256(nil) // it fails for bad keys only
	return digest{h}
}

func (d digest) String() string { return hex.EncodeToString(d.Sum(nil)) }

func digestXattrs(all []overlay.Xattr) string {
	if len(all) == 0 {
		return ""
	}
	d := newDigest()
	for _, x := range all {
		for _, s := range []string{x.Name, x.Value} {
			_, _ = d.Write([]byte(strconv.Itoa(len(s)) + ":" + s)) // it cannot fail
		}
	}
	return d.String()
}

// mayEqual says whether only the contents could tell two files apart.
func mayEqual(v, w Version) bool {
	return v.Type == File && w.Type == File && v.Size == w.Size && !v.Follows && !w.Follows
}

// typeOf is the type of an entry of a layer.
func typeOf(a *overlay.Attributes) Type {
	switch {
	case a.Whiteout:
		return Whiteout
	case a.Opaque:
		return Opaque
	}
	switch uint32(a.Type) {
	case unix.S_IFREG:
		return File
	case unix.S_IFDIR:
		return Directory
	case unix.S_IFLNK:
		return Symlink
	case unix.S_IFCHR:
		return CharDev
	case unix.S_IFBLK:
		return BlockDev
	case unix.S_IFIFO:
		return Fifo
	case unix.S_IFSOCK:
		return Socket
	}
	return Missing
}
