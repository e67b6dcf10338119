// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const xattrMetacopy = "metacopy"

// metacopyByDefault says that the kernel follows metacopies unless a mount's
// options forbid it; the options in mountinfo do not name what is the default.
var metacopyByDefault = sync.OnceValue(func() bool {
	value, err := os.ReadFile("/sys/module/overlay/parameters/metacopy")
	return err == nil && strings.HasPrefix(string(value), "Y")
})

// errNoData: the data of a metacopy lies where it was not found.
var errNoData = errors.New("the layer that holds the file's data was not found")

// showsImage says that the upper entry is a metacopy of the image's: it has
// attributes of its own and shows the image's data.
func (p *pair) showsImage() (bool, error) {
	name := string(p.name)
	meta, err := p.layers.hasXattr(p.dir.upper, name, xattrMetacopy)
	if err != nil || !meta || p.n.covered {
		return false, err
	}
	redirect, err := p.layers.redirectOf(p.dir.upper, name)
	return redirect == "", err
}

// contentStep is how much is compared at once.
const contentStep = 64 << 10

// sameContent compares the data that the two entries show.
func (p *pair) sameContent() (bool, error) {
	name := string(p.name)
	data := dataSearch{layers: p.layers}
	up, err := data.openUpper(&p.dir, p.n, name)
	if err != nil {
		return false, err
	}
	defer closeFD(up)
	low, err := data.openLower(p.dir.Dir.lowers, p.dir.lower, name)
	if err != nil {
		return false, err
	}
	defer closeFD(low)
	for side := range p.s.content {
		if p.s.content[side] == nil {
			p.s.content[side] = make([]byte, contentStep)
		}
	}
	a, b := p.s.content[0], p.s.content[1]
	for {
		n, err := readFull(up, a)
		if err != nil {
			return false, err
		}
		m, err := readFull(low, b)
		if err != nil || !bytes.Equal(a[:n], b[:m]) {
			return false, err
		}
		if n < len(a) {
			return true, nil
		}
		if p.s.walk.over.Load() {
			return false, context.Canceled
		}
	}
}

func readFull(fd int, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := retryEINTR(func() (int, error) { return unix.Read(fd, buf[n:]) })
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

// dataSearch opens the data of a regular file as the kernel finds it: a metacopy
// leads to the next layer, under its own name or its redirect's.
type dataSearch struct{ layers *Layers }

func (s dataSearch) openUpper(dir *openDir, n *node, name string) (int, error) {
	meta := false
	var err error
	if s.layers.metacopy {
		meta, err = s.layers.hasXattr(dir.upper, name, xattrMetacopy)
	}
	if err != nil {
		return -1, err
	}
	if !meta {
		return openFile(dir.upper, name)
	}
	redirect, err := s.layers.redirectOf(dir.upper, name)
	if err != nil {
		return -1, err
	}
	switch {
	case strings.HasPrefix(redirect, "/"):
		return s.fromRoot(0, strings.Trim(redirect, "/"))
	case n.covered:
		return -1, errNoData
	case redirect != "":
		name = redirect
	}
	return s.openLower(dir.Dir.lowers, dir.lower, name)
}

// openLower opens what the image's directories show as name.
func (s dataSearch) openLower(places []place, dirs []int, name string) (int, error) {
	for i, p := range places {
		fd, next, err := s.inLayer(dirs[i], name)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil || fd >= 0:
			return fd, err
		case strings.HasPrefix(next, "/"):
			return s.fromRoot(p.layer+1, strings.Trim(next, "/"))
		}
		name = next
	}
	return -1, errNoData
}

// fromRoot looks for the data by path, in the layers from the given one on, and
// in those that hold data only.
func (s dataSearch) fromRoot(layer int, path string) (int, error) {
	all := append(append([]*Layer(nil), s.layers.lowers...), s.layers.data...)
	for _, l := range all[layer:] {
		parent, name := splitRel(path)
		dir, err := openBeneath(l.fd(), parent, unix.O_RDONLY|unix.O_DIRECTORY)
		if isGone(err) {
			continue
		}
		if err != nil {
			return -1, err
		}
		fd, next, err := s.inLayer(dir, name)
		closeFD(dir)
		switch {
		case errors.Is(err, unix.ENOENT):
		case err != nil || fd >= 0:
			return fd, err
		case strings.HasPrefix(next, "/"):
			path = strings.Trim(next, "/")
		default:
			path = joinRel(parent, next)
		}
	}
	return -1, errNoData
}

// inLayer opens a file of one layer, or says under which name the data of the
// metacopy that it is has to be looked for.
func (s dataSearch) inLayer(dir int, name string) (fd int, next string, err error) {
	e, err := s.layers.readEntry(dir, name)
	if err != nil {
		return -1, "", err
	}
	if e.whiteout || e.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, "", errNoData
	}
	if s.layers.metacopy {
		meta, err := s.layers.hasXattr(dir, name, xattrMetacopy)
		if err != nil {
			return -1, "", err
		}
		if meta {
			redirect, err := s.layers.redirectOf(dir, name)
			if redirect == "" {
				redirect = name
			}
			return -1, redirect, err
		}
	}
	fd, err = openFile(dir, name)
	return fd, "", err
}

// openFile opens a regular file for reading. What became something else since
// it was looked at is an error: nothing is waited for, and no device touched.
func openFile(dir int, name string) (int, error) {
	fd, err := openBeneath(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		closeFD(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		closeFD(fd)
		return -1, unix.ESTALE
	}
	return fd, nil
}
