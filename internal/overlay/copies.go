// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Copies are the image's version of a regular file and the one that the merged
// view shows; nil where there is none.
type Copies struct {
	Image, Merged *[]byte
}

// maxCopy bounds what Copies takes into memory, twice.
const maxCopy = 16 << 20

// ErrTooLarge says that a file is too large to compare as a text.
var ErrTooLarge = fmt.Errorf("larger than %d MiB", maxCopy>>20)

// Copies reads both versions of a regular file through the layers. Below a
// renamed directory, the image's is the one that Diff compares with. What is no
// regular file is an error that is EINVAL.
func (o *Overlay) Copies(rel string) (Copies, error) {
	layers, err := o.Layers()
	if err != nil {
		return Copies{}, err
	}
	if err := o.reachData(layers); err != nil {
		return Copies{}, err
	}
	defer closeLayers(layers.data)
	return layers.Copies(rel)
}

// Copies is Overlay.Copies for layers that were opened by OpenLayers.
func (l *Layers) Copies(rel string) (Copies, error) {
	var both Copies
	reached := false
	c := &comparer{layers: l, kinds: AllKinds}
	w := &walk{failed: c.failed, report: func(*node, *record) error { return nil }}
	var failed error
	w.visit = c.visitor(func(d *openNode) error {
		if len(d.n.only) != 1 {
			return d.compare()
		}
		if _, failed = d.open(); failed == nil {
			reached = true
			both, failed = d.copies(d.n.only[0])
		}
		return nil
	})
	top := l.top(rel)
	if len(top.only) == 0 {
		return both, unix.EINVAL
	}
	err := errors.Join(w.run(context.Background(), top), failed)
	if err == nil && !reached {
		both, err = l.imageCopies(rel)
	}
	return both, err
}

// copies reads both versions of an entry of a directory that the upper has.
func (d *openNode) copies(name string) (both Copies, err error) {
	data := dataSearch{layers: d.layers}
	low, inImage, err := d.dir.lowerEntry(name)
	if err != nil {
		return both, err
	}
	if inImage {
		if both.Image, err = readCopy(&low.entry, func() (int, error) {
			return data.openLower(d.dir.Dir.lowers, d.dir.lower, name)
		}); err != nil {
			return both, err
		}
	}
	up, inUpper, err := d.dir.upperEntry(name)
	switch {
	case err != nil:
	case inUpper && !up.whiteout:
		both.Merged, err = readCopy(&up, func() (int, error) { return data.openUpper(&d.dir, d.n, name) })
	case !inUpper && !d.n.covered:
		both.Merged = both.Image
	}
	return both, err
}

// imageCopies reads a file in a directory that the upper does not have.
func (l *Layers) imageCopies(rel string) (both Copies, err error) {
	lower := *l
	lower.upper = nil
	parent, name := splitRel(rel)
	dir, err := lower.dirAt(parent)
	if errors.Is(err, unix.ENOENT) {
		return both, nil
	}
	if err != nil {
		return both, err
	}
	d, err := lower.open(dir)
	if err != nil {
		return both, err
	}
	defer d.close()
	low, found, err := d.lowerEntry(name)
	if err != nil || !found {
		return both, err
	}
	both.Image, err = readCopy(&low.entry, func() (int, error) {
		return dataSearch{layers: l}.openLower(dir.lowers, d.lower, name)
	})
	if _, merged := l.dirAt(parent); merged == nil {
		both.Merged = both.Image
	}
	return both, err
}

// readCopy reads a regular file.
func readCopy(e *entry, open func() (int, error)) (*[]byte, error) {
	switch {
	case e.stat.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("it is no regular file: %w", unix.EINVAL)
	case e.stat.Size > maxCopy:
		return nil, ErrTooLarge
	}
	fd, err := open()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "copy")
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxCopy+1))
	if err == nil && len(data) > maxCopy {
		err = ErrTooLarge
	}
	return &data, err
}
