// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// maxLowerFile bounds what ReadLower takes into memory.
const maxLowerFile = 64 << 20

// ReadLower reads a regular file as the lower layers have it, whatever the
// upper says. The path is absolute, below the mount point, and is taken as
// written: symbolic links in it are not followed. A file that the lower layers
// do not have is an error that is os.ErrNotExist.
func (o *Overlay) ReadLower(name string) ([]byte, error) {
	if _, err := o.Lowers(); err != nil {
		return nil, err
	}
	rel, ok := below(o.Mount.Point, path.Clean(name))
	if !ok {
		return nil, fmt.Errorf("read %q from the lower: %w", name, errNotHere)
	}
	data, err := o.readLowerRel(joinRel(o.rootRel(), rel))
	if err != nil {
		return nil, fmt.Errorf("read %q from the lower: %w", name, err)
	}
	return data, nil
}

// LowerNames lists a directory as the lower layers have it, whatever the upper
// says. The path is taken as for ReadLower.
func (o *Overlay) LowerNames(dir string) ([]string, error) {
	if _, err := o.Lowers(); err != nil {
		return nil, err
	}
	rel, ok := below(o.Mount.Point, path.Clean(dir))
	if !ok {
		return nil, fmt.Errorf("list %q in the lower: %w", dir, errNotHere)
	}
	layers := o.layers()
	layers.upper = nil
	at := o.rootRel()
	if rel != "." {
		at = joinRel(at, rel)
	}
	d, err := layers.dirAt(at)
	if err != nil {
		return nil, fmt.Errorf("list %q in the lower: %w", dir, err)
	}
	return layers.mergedNames(d)
}

func (o *Overlay) readLowerRel(rel string) ([]byte, error) {
	layers := o.layers()
	layers.upper = nil
	dir, name := splitRel(rel)
	d, err := layers.dirAt(dir)
	if err != nil {
		return nil, err
	}
	parent, err := layers.open(d)
	if err != nil {
		return nil, err
	}
	defer parent.close()
	low, found, err := parent.lowerEntry(name)
	if err != nil {
		return nil, err
	}
	if !found || low.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, unix.ENOENT
	}
	fd, err := openBeneath(layers.lowers[low.layer].fd(), low.rel, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	// Then its content lies in a layer below, or a data-only one: what can be read
	// here is a hole of the right size.
	if n, err := unix.Fgetxattr(fd, layers.prefix+"metacopy", nil); err == nil && n >= 0 {
		return nil, fmt.Errorf("its data is in another layer: %w", unix.EOPNOTSUPP)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxLowerFile+1))
	if err == nil && len(data) > maxLowerFile {
		err = unix.EFBIG
	}
	return data, err
}
