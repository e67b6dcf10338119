// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"bytes"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// dirents lists a directory a buffer at a time: however many entries there are,
// it takes no more memory.
type dirents struct {
	fd  int
	buf []byte
	n   int
	at  int
}

// direntsSize is the size of the buffer: some 1,000 entries.
const direntsSize = 32 << 10

// next returns a name and its type, DT_UNKNOWN where the file system does not
// tell, and false at the end.
func (d *dirents) next() (name string, typ uint8, more bool, err error) {
	if d.buf == nil {
		d.buf = make([]byte, direntsSize)
	}
	for {
		if d.at >= d.n {
			d.at = 0
			if d.n, err = retry(func() (int, error) { return unix.Getdents(d.fd, d.buf) }); err != nil || d.n <= 0 {
				d.n = 0
				if err != nil {
					err = os.NewSyscallError("getdents64", err)
				}
				return "", 0, false, err
			}
		}
		// struct linux_dirent64: the length of the record, its type, its name.
		rec := d.buf[d.at:d.n]
		length := int(binary.NativeEndian.Uint16(rec[16:]))
		d.at += length
		raw := rec[19:length]
		if end := bytes.IndexByte(raw, 0); end >= 0 {
			raw = raw[:end]
		}
		if name := string(raw); name != "." && name != ".." {
			return name, rec[18], true, nil
		}
	}
}

// rewind begins again.
func (d *dirents) rewind() error {
	d.at, d.n = 0, 0
	_, err := unix.Seek(d.fd, 0, 0)
	return os.NewSyscallError("lseek", err)
}
