// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// Overlay is one overlay, opened through one of its mounts. It is for one
// goroutine; Close it after use.
type Overlay struct {
	Mount Mount

	table  mountTable
	dir    *os.File // what is mounted at Mount.Point
	kernel kernel
	opts   Options

	contract kernelContract // contractUnknown until it was asked
	upper    *reached       // nil until it was looked for
	lowers   *reached
	walking  bool // the lowers are in use
}

// Options say how to open an overlay.
type Options struct {
	// Upper names the upper directory for an overlay whose mount options no
	// longer lead to it. It is checked like any other candidate.
	Upper string
	// Trace, if not nil, is told what is tried and why it did not do.
	Trace func(Event)
}

// Event is one step that may interest who looks for a fault.
type Event struct {
	Op   string // what was tried
	Path string // on what
	Err  error  // why it did not do; nil where it did
}

// reached is the outcome of looking for a kind of layer.
type reached struct {
	layers []*Layer
	err    error
}

// Open opens the overlay that path lies on; see Find.
func Open(path string, opts Options) (*Overlay, error) {
	mount, err := Find(path)
	if err != nil {
		return nil, err
	}
	table, err := readMountTable()
	if err != nil {
		return nil, err
	}
	dir, err := openMountPoint(mount, path)
	if err != nil {
		return nil, err
	}
	return &Overlay{Mount: mount, table: table, dir: dir, kernel: ioctl.NewMount(dir), opts: opts}, nil
}

// openMountPoint opens the root of the mount. Where something else is mounted
// over it by now, path itself serves, if it is a directory: the ioctl takes any
// directory of the overlay, the flush does not.
func openMountPoint(mount Mount, path string) (*os.File, error) {
	for _, p := range []string{mount.Point, path} {
		fd, err := openPath(unix.AT_FDCWD, p, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil, fmt.Errorf("open the mount point %q: %w", p, err)
		}
		if id, err := mountID(fd); err == nil && id == mount.ID {
			return os.NewFile(uintptr(fd), p), nil
		}
		closeFD(fd)
	}
	return nil, fmt.Errorf("open the mount point %q: %w", mount.Point, errCovered)
}

// Close releases what the overlay holds open.
func (o *Overlay) Close() error {
	errs := []error{o.dir.Close()}
	for _, r := range []*reached{o.upper, o.lowers} {
		if r == nil {
			continue
		}
		for _, l := range r.layers {
			errs = append(errs, l.root.Close())
		}
	}
	return errors.Join(errs...)
}

func (o *Overlay) fd() int { return int(o.dir.Fd()) }

// isOurs says whether a directory with that st_dev shows this overlay.
func (o *Overlay) isOurs(dev uint64) bool { return dev == o.Mount.Dev }

func (o *Overlay) trace(op, path string, err error) {
	if o.opts.Trace != nil {
		o.opts.Trace(Event{Op: op, Path: path, Err: err})
	}
}

// layers puts together what was reached. The upper is nil where it was not.
func (o *Overlay) layers() *Layers {
	l := &Layers{
		prefix:   o.Mount.Config.xattrPrefix(),
		redirect: o.Mount.Config.Redirect != "nofollow",
		metacopy: o.Mount.Config.Metacopy || metacopyByDefault(),
	}
	if o.upper != nil && o.upper.err == nil {
		l.upper = o.upper.layers[0]
	}
	if o.lowers != nil && o.lowers.err == nil {
		l.lowers = o.lowers.layers
	}
	return l
}
