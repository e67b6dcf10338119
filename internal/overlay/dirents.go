// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// dirents reads a directory with getdents64(2) into one buffer, and hands its
// entries out where they lie: nothing is copied or allocated for an entry that
// nobody keeps.
type dirents struct {
	fd   int
	buf  []byte
	n    int // bytes of it that are filled
	at   int
	full bool // the directory may have more than fits into one buffer
	err  error
}

// direntsSize is the size of the buffer: some 2,000 entries.
const direntsSize = 64 << 10

// dirent is an entry; name is valid until the next one is read. A NUL follows
// the name in memory, as system calls want it.
type dirent struct {
	ino  uint64
	typ  uint8 // DT_DIR, …; DT_UNKNOWN where the file system does not tell
	name []byte
}

// Offsets in struct linux_dirent64.
const (
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

// start reads the directory fd from where it stands.
func (d *dirents) start(fd int) {
	if d.buf == nil {
		d.buf = make([]byte, direntsSize)
	}
	d.fd, d.n, d.at, d.full, d.err = fd, 0, 0, false, nil
	d.fill()
}

func (d *dirents) fill() {
	d.at = 0
	d.n, d.err = retryEINTR(func() (int, error) { return unix.Getdents(d.fd, d.buf) })
	if d.err != nil {
		d.n = 0
	}
	// A record that did not fit is at most this long.
	d.full = d.n > len(d.buf)-direntName-unix.NAME_MAX-8
}

// next returns false after the last entry and on an error, which err then has.
func (d *dirents) next(e *dirent) bool {
	for {
		if d.at >= d.n {
			if d.n == 0 {
				return false
			}
			if d.fill(); d.n == 0 {
				return false
			}
		}
		rec := d.buf[d.at:d.n]
		length := int(binary.NativeEndian.Uint16(rec[direntReclen:]))
		d.at += length
		name := rec[direntName:length]
		end := bytes.IndexByte(name, 0)
		if end < 0 { // never: the kernel ends names with a NUL
			continue
		}
		name = name[:end]
		if name[0] == '.' && (end == 1 || end == 2 && name[1] == '.') {
			continue
		}
		e.ino = binary.NativeEndian.Uint64(rec)
		e.typ = rec[direntType]
		e.name = name
		return true
	}
}

// direntTypeOf is the d_type of a mode.
func direntTypeOf(mode uint32) uint8 { return uint8(mode & unix.S_IFMT >> 12) }

// modeTypeOf is the file type of a d_type.
func modeTypeOf(typ uint8) uint32 { return uint32(typ) << 12 }
