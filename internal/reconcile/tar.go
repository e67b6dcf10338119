// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// errTar says that an archive is not as GNU tar writes one.
var errTar = errors.New("not a tar archive, or not all of one")

// tarBlock is the unit of an archive.
const tarBlock = 512

// readTar reads a tar archive in POSIX's format, and calls entry for each but the
// root. The archive has to have its end.
//
// It is how a build system shows a tree: what it pretends about owners and devices
// (fakeroot, pseudo), only programs like tar are told, which are linked to libc.
func readTar(from io.Reader, entry func(rel string, v *Version, content io.Reader) error) error {
	var more tarMore
	for h := make([]byte, tarBlock); ; {
		if _, err := io.ReadFull(from, h); err != nil {
			return errors.Join(errTar, err)
		}
		if string(h) == string(make([]byte, tarBlock)) {
			return nil
		}
		rel, v, size, err := more.version(h)
		if err != nil {
			return err
		}
		content := &io.LimitedReader{R: from, N: size}
		switch h[156] {
		case 'x':
			var data []byte
			if data, err = io.ReadAll(content); err == nil {
				err = more.read(string(data))
			}
		case 'g': // of the archive
		default:
			more = tarMore{}
			if rel != "" {
				err = entry(rel, &v, content)
			}
		}
		content.N += -size & (tarBlock - 1)
		if err == nil {
			_, err = io.Copy(io.Discard, content)
		}
		if err == nil && content.N > 0 {
			err = errTar
		}
		if err != nil {
			return err
		}
	}
}

// tarMore is what stands before the header of an entry, and counts more than it.
type tarMore struct {
	values map[string]string
	xattrs []string // names and values, with a NUL between
}

// read reads lines of "LENGTH KEY=VALUE\n", where a value may have newlines.
func (m *tarMore) read(data string) error {
	m.values = map[string]string{}
	for data != "" {
		digits, _, _ := strings.Cut(data, " ")
		n, err := strconv.Atoi(digits)
		if err != nil || n <= len(digits)+1 || n > len(data) {
			return errTar
		}
		key, value, _ := strings.Cut(data[len(digits)+1:n-1], "=")
		data = data[n:]
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		switch {
		case strings.HasPrefix(key, "GNU.sparse"):
			return fmt.Errorf("a sparse file: %w: pack it without --sparse", errTar)
		case !ok:
			m.values[key] = value
		case !strings.HasPrefix(name, "trusted.overlay.") && !strings.HasPrefix(name, "user.overlay."):
			m.xattrs = append(m.xattrs, name+"\x00"+value)
		}
	}
	return nil
}

// version is an entry as a record has it, but for its content, and how much of
// that there is.
func (m *tarMore) version(h []byte) (rel string, v Version, size int64, err error) {
	text := func(key string, from, to int) string {
		if value, ok := m.values[key]; ok {
			return value
		}
		value, _, _ := strings.Cut(string(h[from:to]), "\x00")
		return value
	}
	number := func(key string, from, to int) int64 {
		digits, base := text(key, from, to), 8
		if _, ok := m.values[key]; ok {
			base = 10
		}
		n, e := strconv.ParseInt(strings.Trim(digits, " "), base, 64)
		if e != nil && digits != "" || n < 0 {
			err = errTar
		}
		return n
	}
	sum := int64(8 * ' ')
	for i, b := range h {
		if i < 148 || i >= 156 {
			sum += int64(b)
		}
	}
	if number("", 148, 156) != sum || string(h[257:262]) != "ustar" {
		return "", v, 0, errTar
	}
	v = Version{
		Known: true, Mode: uint32(number("", 100, 108)) & 0o7777,
		UID: uint32(number("uid", 108, 116)), GID: uint32(number("gid", 116, 124)), Xattrs: m.digest(),
	}
	size = number("size", 124, 136)
	rel = text("path", 0, 100)
	if prefix := text("", 345, 500); prefix != "" && m.values["path"] == "" {
		rel = prefix + "/" + rel
	}
	switch h[156] {
	case 'x', 'g':
	case '0', '7', 0:
		v.Type, v.Size = File, size
	case '1':
		err = fmt.Errorf("%q is a hard link: pack it by tar --hard-dereference", rel)
	case '2':
		v.Type, v.Target = Symlink, text("linkpath", 157, 257)
	case '3', '4':
		v.Type = CharDev
		if h[156] == '4' {
			v.Type = BlockDev
		}
		v.Device = unix.Mkdev(uint32(number("", 329, 337)), uint32(number("", 337, 345)))
	case '5':
		v.Type = Directory
	case '6':
		v.Type = Fifo
	default:
		err = fmt.Errorf("%q is of type %q: %w: pack it by tar --format=posix", rel, h[156], errTar)
	}
	if v.Type != File && h[156] != 'x' && h[156] != 'g' {
		size = 0
	}
	if rel = strings.Trim(strings.TrimPrefix(rel, "./"), "/"); rel == "." {
		rel = ""
	}
	return rel, v, size, err
}

// digest is that of the extended attributes.
func (m *tarMore) digest() string {
	slices.Sort(m.xattrs)
	var all []overlay.Xattr
	for _, x := range m.xattrs {
		name, value, _ := strings.Cut(x, "\x00")
		all = append(all, overlay.Xattr{Name: name, Value: value})
	}
	return digestXattrs(all)
}
