// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// Lowers returns the lower layers, topmost first, data-only ones left out. All
// of them are needed to say what shows under a name, so one that was not reached
// is an error, an *UnreachedError.
func (o *Overlay) Lowers() ([]*Layer, error) {
	if o.lowers == nil {
		r := &reached{}
		for _, path := range o.Mount.Config.Lowers {
			layer, err := o.reachLower(path, r.layers)
			if err != nil {
				r.err = err
				break
			}
			r.layers = append(r.layers, layer)
		}
		o.lowers = r
	}
	return o.lowers.layers, o.lowers.err
}

// reachLower takes the first candidate that something speaks for. One that
// nothing speaks for or against does only if there is no better: another file
// system may lie over the lower's path by now, or the lower may have moved.
func (o *Overlay) reachLower(path LayerPath, above []*Layer) (*Layer, error) {
	unreached := &UnreachedError{Layer: "lower", Path: path.Path}
	var fallback *Layer
	for c := range o.candidates(path) {
		if fallback != nil && c.onDevice {
			break
		}
		layer, err := o.tryLower(path, c, above)
		o.trace("lower layer by "+c.how, path.Path, err)
		switch {
		case err == nil && layer.Sure != Named:
			if fallback != nil {
				_ = fallback.root.Close()
			}
			return layer, nil
		case err == nil && fallback == nil:
			fallback = layer
		case err == nil:
			_ = layer.root.Close()
		case c.named || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR):
			unreached.Tried = append(unreached.Tried, Attempt{c.how, err})
		}
	}
	if fallback == nil {
		return nil, unreached
	}
	return fallback, nil
}

// sureOfLowers says whether something speaks for each lower that was reached.
func (o *Overlay) sureOfLowers() bool {
	return o.lowers != nil && !slices.ContainsFunc(o.lowers.layers, func(l *Layer) bool { return l.Sure == Named })
}

// reachNamedLowersAgain looks for the lowers once more, where one is known by
// its name only: what shows by now may tell more.
func (r *restorer) reachNamedLowersAgain() {
	if r.lowers == nil || r.walking || r.sureOfLowers() {
		return
	}
	o := r.Overlay
	for _, l := range o.lowers.layers {
		_ = l.root.Close()
	}
	o.lowers = nil
	_, _ = o.Lowers() // the error is kept, and is for who needs them
}

var (
	errDiffers  = errors.New("its entries are not those that the merged view shows")
	errNoMatch  = errors.New("nothing in it is visible in the merged view, so nothing tells that it is this overlay's")
	errTwice    = errors.New("it is another layer of this overlay")
	errNotRoot  = errors.New("it is not a directory")
	lookAtNames = 64 // entries to compare before a candidate is believed
)

func (o *Overlay) tryLower(path LayerPath, c candidate, above []*Layer) (*Layer, error) {
	layer, err := openCandidate(path, c)
	if err != nil {
		return nil, err
	}
	layer.Sure, err = o.weighLower(layer, above)
	if err == nil && layer.Sure == Named && !c.named {
		err = errNoMatch
	}
	if err != nil {
		_ = layer.root.Close()
		return nil, err
	}
	return layer, nil
}

// weighLower compares what a candidate holds at the top of this mount with what
// the merged view shows there: an entry that no layer above has must carry the
// candidate's own owner, mode, size and times.
func (o *Overlay) weighLower(layer *Layer, above []*Layer) (Certainty, error) {
	var st unix.Stat_t
	if err := unix.Fstat(layer.fd(), &st); err != nil {
		return "", err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return "", errNotRoot
	case o.isOurs(st.Dev):
		return "", errIsOverlay
	}
	higher := above
	if upper, err := o.Upper(); err == nil {
		higher = append([]*Layer{upper}, above...)
	}
	for _, l := range higher {
		var other unix.Stat_t
		if unix.Fstat(l.fd(), &other) == nil && other.Dev == st.Dev && other.Ino == st.Ino {
			return "", errTwice
		}
	}
	same, different, err := o.compareRoot(layer, higher)
	switch {
	case err != nil:
		return "", err
	case same > 0:
		return Matched, nil
	case different > 0:
		return "", errDiffers
	}
	return Named, nil
}

func (o *Overlay) compareRoot(layer *Layer, higher []*Layer) (same, different int, err error) {
	dir, err := openBeneath(layer.fd(), o.rootRel(), unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer closeFD(dir)
	names, err := readNames(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		if o.hasName(higher, name) {
			if o.isOriginOf(dir, higher, name) {
				same++
			}
			continue
		}
		want, err := lstatAt(dir, name)
		if err != nil {
			return same, different, err
		}
		got, err := lstatAt(o.fd(), name)
		// An entry that came into the lower behind the kernel's back may not
		// show yet: it says neither yes nor no.
		if err != nil || got.Mode&unix.S_IFMT == unix.S_IFDIR && !o.isOurs(got.Dev) {
			continue
		}
		switch {
		case equalAttributes(&want, &got):
			same++
		case mayBeStale(&want, &got):
		default:
			different++
		}
		if same+different >= lookAtNames {
			break
		}
	}
	return same, different, nil
}

// isOriginOf says whether an upper entry was copied up from the candidate's
// entry of that name: the upper keeps the file handle of what it copied.
func (o *Overlay) isOriginOf(dir int, higher []*Layer, name string) bool {
	if o.upper == nil || o.upper.err != nil || higher[0] != o.upper.layers[0] {
		return false
	}
	upper, err := openBeneath(higher[0].fd(), o.rootRel(), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer closeFD(upper)
	origin, err := o.layers().xattr(upper, name, xattrOrigin)
	key := originKey(origin)
	return err == nil && key != "" && key == handleAt(dir, name)
}

// mayBeStale knows entries that the upper held until somebody changed it behind
// the kernel's back, or that are deleted and held open: the overlay keeps their
// lower origin's inode number, in its low bits where it tells layers apart. They
// say nothing about a lower.
func mayBeStale(lower, merged *unix.Stat_t) bool {
	isDir := merged.Mode&unix.S_IFMT == unix.S_IFDIR
	return merged.Nlink == 0 || !isDir && uint32(merged.Ino) == uint32(lower.Ino)
}

// hasName says whether one of the layers has the name at the top of this mount,
// a whiteout included.
func (o *Overlay) hasName(layers []*Layer, name string) bool {
	for _, l := range layers {
		dir, err := openBeneath(l.fd(), o.rootRel(), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		_, err = lstatAt(dir, name)
		closeFD(dir)
		if err == nil {
			return true
		}
	}
	return false
}
