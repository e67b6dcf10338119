// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Layer is one layer's directory, reached without going through the overlay.
type Layer struct {
	Path  string // as the mount options name it
	How   string // how it was reached, for people
	Where string // where it is: an absolute path, or DEVICE:PATH where only a private mount shows it
	// Sure says how the layer is known to be this overlay's: by what it holds,
	// or only by its name.
	Sure Certainty
	root *os.File // O_PATH
}

// Certainty is how well a directory is known to be a layer of an overlay.
type Certainty string

// From the weakest to the strongest.
const (
	Named   Certainty = "named"   // the mount options name it, nothing contradicts
	Matched Certainty = "matched" // its entries carry the times and owners that the merged view shows
	Proven  Certainty = "proven"  // an entry made through the overlay appeared in it
)

func (l *Layer) fd() int { return int(l.root.Fd()) }

// Layers are the layers of one overlay, as far as they were reached.
type Layers struct {
	prefix   string // of the xattrs: trusted.overlay. or user.overlay.
	redirect bool   // whether the mount follows redirects
	upper    *Layer
	lowers   []*Layer // topmost first, data-only ones left out
	data     []*Layer // the data-only ones, where they were asked for
	metacopy bool     // whether the mount follows metacopies
}

// place is a directory of one layer.
type place struct {
	layer int // index into Layers.lowers
	rel   string
}

// Dir is one directory of the merged view, as the layers hold it. It is plain
// data and holds nothing open, so that a tree of any depth can be walked.
type Dir struct {
	Rel     string // from the overlay's root, "." for the root itself
	inUpper bool   // the upper has this directory
	lowers  []place
}

// rootDir is where all layers meet.
func (l *Layers) rootDir() Dir {
	d := Dir{Rel: ".", inUpper: l.upper != nil}
	for i := range l.lowers {
		d.lowers = append(d.lowers, place{i, "."})
	}
	return d
}

// openDir is a Dir with its directories open.
type openDir struct {
	Dir
	layers *Layers
	upper  int // -1 where the upper does not have it
	lower  []int
}

// open opens d in every layer that has it; the caller closes it.
func (l *Layers) open(d Dir) (*openDir, error) {
	o := &openDir{Dir: d, layers: l, upper: -1}
	if d.inUpper {
		fd, err := openBeneath(l.upper.fd(), d.Rel, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		o.upper = fd
	}
	for _, p := range d.lowers {
		fd, err := openBeneath(l.lowers[p.layer].fd(), p.rel, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			o.close()
			return nil, err
		}
		o.lower = append(o.lower, fd)
	}
	return o, nil
}

func (o *openDir) close() {
	if o.upper >= 0 {
		closeFD(o.upper)
	}
	for _, fd := range o.lower {
		closeFD(fd)
	}
}

// lowerEntry is what the lower layers together show under a name.
type lowerEntry struct {
	entry
	place         // of the topmost entry
	dirs  []place // for a directory: all that are merged there, topmost first
}

// upperEntry reads name in the upper; found is false where it has none.
func (o *openDir) upperEntry(name string) (e entry, found bool, err error) {
	if o.upper < 0 {
		return entry{}, false, nil
	}
	e, err = o.layers.readEntry(o.upper, name)
	if errors.Is(err, unix.ENOENT) {
		return entry{}, false, nil
	}
	return e, err == nil, err
}

// lowerEntry says what would show under name if the upper had nothing there.
func (o *openDir) lowerEntry(name string) (lowerEntry, bool, error) {
	s := search{layers: o.layers}
	for i, p := range o.Dir.lowers {
		next, err := s.step(p.layer, p.rel, o.lower[i], name)
		if err != nil {
			return lowerEntry{}, false, err
		}
		if s.stop {
			break
		}
		if strings.HasPrefix(next, "/") {
			if err := s.fromRoot(p.layer+1, next); err != nil {
				return lowerEntry{}, false, err
			}
			break
		}
		name = next
	}
	return s.result, s.found, nil
}

// child is the directory name as it is merged today: with the upper's opaque
// mark or redirect taken into account. found is false where the merged view has
// no directory there.
func (o *openDir) child(name string) (d Dir, found bool, err error) {
	rel := joinRel(o.Rel, name)
	up, inUpper, err := o.upperEntry(name)
	if err != nil {
		return Dir{}, false, err
	}
	if inUpper && !up.isDir() {
		return Dir{}, false, nil
	}
	if !inUpper {
		low, ok, err := o.lowerEntry(name)
		return Dir{Rel: rel, lowers: low.dirs}, ok && low.isDir(), err
	}
	d = Dir{Rel: rel, inUpper: true}
	opaque, err := o.layers.isOpaque(o.upper, name)
	if err != nil || opaque {
		return d, true, err
	}
	d.lowers, err = o.mergedBelow(name)
	return d, true, err
}

// mergedBelow finds the lower directories under an upper directory that is not
// opaque: those of its name, or those its redirect leads to.
func (o *openDir) mergedBelow(name string) ([]place, error) {
	redirect, err := o.layers.redirectOf(o.upper, name)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(redirect, "/") {
		s := search{layers: o.layers}
		err := s.fromRoot(0, redirect)
		return s.result.dirs, err
	}
	if redirect != "" {
		name = redirect
	}
	low, ok, err := o.lowerEntry(name)
	if err != nil || !ok || !low.isDir() {
		return nil, err
	}
	return low.dirs, nil
}

// dirAt walks from the root to the directory rel, as it is merged today.
func (l *Layers) dirAt(rel string) (Dir, error) {
	o, err := l.openAt(rel)
	if err != nil {
		return Dir{}, err
	}
	o.close()
	return o.Dir, nil
}

// openAt is dirAt, with the directory open.
func (l *Layers) openAt(rel string) (*openDir, error) {
	o, err := l.open(l.rootDir())
	if err != nil || rel == "." {
		return o, err
	}
	for name := range strings.SplitSeq(rel, "/") {
		next, err := o.openChild(name)
		o.close()
		if err != nil {
			return nil, err
		}
		o = next
	}
	return o, nil
}

// openChild opens the directory name as it is merged today. Each of its
// directories is opened from the one above where that can be: from the root it
// would take as many steps as it is deep.
func (o *openDir) openChild(name string) (*openDir, error) {
	d, found, err := o.child(name)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, unix.ENOENT
	}
	from := map[place]int{}
	for i, p := range o.Dir.lowers {
		from[place{p.layer, joinRel(p.rel, name)}] = o.lower[i]
	}
	next := &openDir{Dir: d, layers: o.layers, upper: -1}
	if d.inUpper {
		if next.upper, err = openBeneath(o.upper, name, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
			return nil, err
		}
	}
	for _, p := range d.lowers {
		dir, rel := o.layers.lowers[p.layer].fd(), p.rel
		if parent, ok := from[p]; ok {
			dir, rel = parent, name
		}
		fd, err := openBeneath(dir, rel, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			next.close()
			return nil, err
		}
		next.lower = append(next.lower, fd)
	}
	return next, nil
}

func joinRel(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// Root is the layer's directory, opened O_PATH. It belongs to the Overlay.
func (l *Layer) Root() *os.File { return l.root }
