// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"fmt"
	"io"
)

// cpioWriter writes the archive format that the kernel unpacks as initramfs:
// "newc", described in Documentation/driver-api/early-userspace/buffer-format.rst.
type cpioWriter struct {
	w      *bufio.Writer
	inode  uint32
	offset int64
	err    error
}

func newCPIOWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: bufio.NewWriterSize(w, 1<<20)}
}

// add appends an entry. mode holds the type bits too; rdev is a device's
// number, or nothing.
func (c *cpioWriter) add(name string, mode, major, minor uint32, data []byte) {
	c.inode++
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode,
		0, 0, // owner
		1, // links
		0, // time
		len(data),
		0, 0, // device of the archive
		major, minor,
		len(name)+1,
		0, // no checksum in this variant
		name))
	c.pad()
	c.write(data)
	c.pad()
}

// close ends the archive.
func (c *cpioWriter) close() error {
	c.add("TRAILER!!!", 0, 0, 0, nil)
	if c.err != nil {
		return c.err
	}
	return c.w.Flush()
}

func (c *cpioWriter) write(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.offset += int64(n)
	c.err = err
}

// pad fills up to the next multiple of four bytes.
func (c *cpioWriter) pad() {
	c.write(make([]byte, -c.offset&3))
}
