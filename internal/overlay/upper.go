// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Upper returns the upper layer, for reading: it may be Named or Matched only.
// The error is an *UnreachedError that tells what was tried, or errors.Is EROFS
// for an overlay without an upper.
func (o *Overlay) Upper() (*Layer, error) {
	if o.upper == nil {
		layer, err := o.reachUpper(func(*Layer) error { return nil })
		o.upper = newReached(layer, err)
	}
	if o.upper.err != nil {
		return nil, o.upper.err
	}
	return o.upper.layers[0], nil
}

// ProvenUpper returns the upper layer, for writing: an empty entry is made
// through the overlay, must appear in the candidate, and is removed again.
// Errors are those of Upper, and what making that entry says, such as EROFS.
func (o *Overlay) ProvenUpper() (*Layer, error) {
	if o.upper != nil && o.upper.err == nil {
		layer := o.upper.layers[0]
		if layer.Sure == Proven {
			return layer, nil
		}
		err := o.prove(layer)
		o.trace("upper layer by "+layer.How, layer.Path, err)
		if err == nil {
			return layer, nil
		}
		if hopeless := (errNotProbed{}); errors.As(err, &hopeless) {
			return nil, hopeless.error
		}
		_ = layer.root.Close()
	}
	layer, err := o.reachUpper(o.prove)
	o.upper = newReached(layer, err)
	return layer, err
}

func newReached(layer *Layer, err error) *reached {
	if err != nil {
		return &reached{err: err}
	}
	return &reached{layers: []*Layer{layer}}
}

// errNotProbed says that no probe could be made; no candidate can do better.
type errNotProbed struct{ error }

func (e errNotProbed) Unwrap() error { return e.error }

func (o *Overlay) reachUpper(accept func(*Layer) error) (*Layer, error) {
	path := o.Mount.Config.Upper
	if path.IsZero() {
		return nil, errNoUpper
	}
	unreached := &UnreachedError{Layer: "upper", Path: path.Path}
	try := func(c candidate) (*Layer, error) {
		layer, err := o.tryUpper(path, c)
		if err == nil {
			if err = accept(layer); err != nil {
				_ = layer.root.Close()
			}
		}
		o.trace("upper layer by "+c.how, path.Path, err)
		if err != nil {
			// What does not exist elsewhere says nothing.
			if c.named || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
				unreached.Tried = append(unreached.Tried, Attempt{c.how, err})
			}
			return nil, err
		}
		return layer, nil
	}
	if o.opts.Upper != "" {
		layer, err := try(candidate{how: "--upper " + o.opts.Upper, where: absOrAsIs(o.opts.Upper), named: true, open: func() (int, error) {
			return openPath(unix.AT_FDCWD, o.opts.Upper, unix.O_PATH|unix.O_DIRECTORY)
		}})
		if err == nil {
			return layer, nil
		}
		return nil, unreached
	}
	for c := range o.candidates(path) {
		layer, err := try(c)
		if err == nil {
			return layer, nil
		}
		if hopeless := (errNotProbed{}); errors.As(err, &hopeless) {
			return nil, hopeless.error
		}
	}
	return nil, unreached
}

// Reasons why a directory is not the layer.
var (
	errIsOverlay = errors.New("it is the overlay itself")
	errOtherFS   = errors.New("another file system than the overlay's upper")
	errOtherDir  = errors.New("its owner, mode or times are not those of the merged directory")
	errNoProbe   = errors.New("an entry made through the overlay did not appear there")
)

// tryUpper opens a candidate and weighs it by what can be read.
func (o *Overlay) tryUpper(path LayerPath, c candidate) (*Layer, error) {
	layer, err := openCandidate(path, c)
	if err != nil {
		return nil, err
	}
	sure, err := o.weighUpper(layer.fd())
	if err == nil && sure == Named && !c.named {
		err = errOtherDir
	}
	if err != nil {
		_ = layer.root.Close()
		return nil, err
	}
	layer.Sure = sure
	return layer, nil
}

// absOrAsIs makes a path absolute, for people to find it again.
func absOrAsIs(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func openCandidate(path LayerPath, c candidate) (*Layer, error) {
	fd, err := c.open()
	if err != nil {
		return nil, err
	}
	return &Layer{Path: path.Path, How: c.how, Where: c.where, root: os.NewFile(uintptr(fd), path.Path)}, nil
}

// weighUpper compares a candidate with the overlay. A directory of the upper
// lends the merged one its owner, mode and times, to the nanosecond; the upper's
// file system lends the overlay its statfs(2).
func (o *Overlay) weighUpper(fd int) (Certainty, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if o.isOurs(st.Dev) {
		return "", errIsOverlay
	}
	same, err := sameFileSystemSize(fd, o.fd())
	if err != nil {
		return "", err
	}
	if !same {
		return "", errOtherFS
	}
	root, err := openBeneath(fd, o.rootRel(), unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return Named, nil // a bind of a directory that only the lower has
	}
	if err != nil {
		return "", err
	}
	defer closeFD(root)
	// Somebody may change the directory between the two looks.
	for range 3 {
		if sameAttributes(root, o.fd()) {
			return Matched, nil
		}
	}
	return "", errOtherDir
}

// rootRel is the directory that this mount shows, from the overlay's root.
func (o *Overlay) rootRel() string {
	if rel := strings.Trim(o.Mount.Root, "/"); rel != "" {
		return rel
	}
	return "."
}

func sameFileSystemSize(a, b int) (bool, error) {
	var fa, fb unix.Statfs_t
	if err := unix.Fstatfs(a, &fa); err != nil {
		return false, err
	}
	if err := unix.Fstatfs(b, &fb); err != nil {
		return false, err
	}
	return fa.Bsize == fb.Bsize && fa.Blocks == fb.Blocks, nil
}

func sameAttributes(a, b int) bool {
	var sa, sb unix.Stat_t
	return unix.Fstat(a, &sa) == nil && unix.Fstat(b, &sb) == nil && equalAttributes(&sa, &sb)
}

// equalAttributes compares what an overlay passes through from the layer that
// serves an entry. st_dev, st_ino and st_nlink are the overlay's own.
func equalAttributes(a, b *unix.Stat_t) bool {
	return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid && a.Rdev == b.Rdev &&
		(a.Mode&unix.S_IFMT == unix.S_IFDIR || a.Size == b.Size) &&
		a.Mtim == b.Mtim && a.Ctim == b.Ctim
}

// prove makes an entry through the overlay and looks for it in the candidate.
func (o *Overlay) prove(layer *Layer) error {
	root, err := openBeneath(layer.fd(), o.rootRel(), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer closeFD(root)
	name, fd, err := o.makeProbe()
	if err != nil {
		return errNotProbed{fmt.Errorf("make an entry in %q, to prove the upper layer: %w", o.Mount.Point, err)}
	}
	defer closeFD(fd)
	_, seen := lstatAt(root, name)
	if err := unix.Unlinkat(o.fd(), name, 0); err != nil {
		return errNotProbed{fmt.Errorf("remove %q from %q again: %w", name, o.Mount.Point, err)}
	}
	if seen != nil {
		return errNoProbe
	}
	if _, err := lstatAt(root, name); !errors.Is(err, unix.ENOENT) {
		return errNoProbe
	}
	layer.Sure = Proven
	return nil
}

// makeProbe makes an empty file in the overlay, and locks it, so that another run
// can tell it from one that a crash has left.
func (o *Overlay) makeProbe() (name string, fd int, err error) {
	for range 3 {
		name = tempName()
		fd, err = unix.Openat(o.fd(), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return "", -1, err
		}
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return name, fd, nil
		}
		closeFD(fd)
		_ = unix.Unlinkat(o.fd(), name, 0) // another run was faster, and took it for a stray
	}
	return "", -1, err
}

// removeStrays removes the probes that crashes have left.
func (o *Overlay) removeStrays() error {
	names, err := readNames(o.fd())
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		st, err := lstatAt(o.fd(), name)
		if err != nil || st.Mode != unix.S_IFREG|0o600 || st.Size != 0 {
			continue
		}
		fd, err := unix.Openat(o.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = unix.Unlinkat(o.fd(), name, 0)
		}
		closeFD(fd)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}
