// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// search looks for one name in the lower layers, topmost first, by the rules of
// the kernel's own lookup: a whiteout ends it, a non-directory ends it,
// directories are collected until one is opaque, and a redirect of a lower
// directory changes the name for the layers under it.
type search struct {
	layers *Layers
	result lowerEntry
	found  bool
	stop   bool
}

// step looks at name in the directory rel of one layer and returns the name to
// look for in the next.
func (s *search) step(layer int, rel string, dirfd int, name string) (next string, err error) {
	e, err := s.layers.readEntry(dirfd, name)
	if errors.Is(err, unix.ENOENT) {
		return name, nil
	}
	if err != nil {
		return "", err
	}
	if e.whiteout || s.found && !e.isDir() {
		s.stop = true
		return name, nil
	}
	at := place{layer, joinRel(rel, name)}
	if !s.found {
		s.found = true
		s.result = lowerEntry{entry: e, place: at}
	}
	if !e.isDir() {
		s.stop = true
		return name, nil
	}
	s.result.dirs = append(s.result.dirs, at)
	if layer == len(s.layers.lowers)-1 {
		s.stop = true // nothing lies under the lowest: its marks mean nothing
		return name, nil
	}
	if s.stop, err = s.layers.isOpaque(dirfd, name); err != nil || s.stop {
		return name, err
	}
	redirect, err := s.layers.redirectOf(dirfd, name)
	if redirect != "" {
		name = redirect
	}
	return name, err
}

// fromRoot looks for an absolute redirect in the layers from the given one on.
func (s *search) fromRoot(layer int, path string) error {
	for ; layer < len(s.layers.lowers) && !s.stop; layer++ {
		next, err := s.pathInLayer(layer, strings.Trim(path, "/"))
		if err != nil {
			return err
		}
		path = next
	}
	return nil
}

// pathInLayer walks a path inside one layer, and returns the absolute path to
// look for in the next. Only the last component can be a result, but an opaque
// directory on the way ends the search after this layer too.
func (s *search) pathInLayer(layer int, rel string) (next string, err error) {
	root := s.layers.lowers[layer].fd()
	dir, name, hides := ".", rel, false
	for {
		first, rest, more := strings.Cut(name, "/")
		dirfd, err := openBeneath(root, dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return "", err
		}
		if !more {
			next, err := s.step(layer, dir, dirfd, first)
			closeFD(dirfd)
			s.stop = s.stop || hides
			if !strings.HasPrefix(next, "/") {
				next = "/" + joinRel(dir, next)
			}
			return next, err
		}
		e, opaque, err := s.layers.passThrough(dirfd, first)
		closeFD(dirfd)
		if errors.Is(err, unix.ENOENT) {
			s.stop = hides
			return "/" + rel, nil
		}
		if err != nil {
			return "", err
		}
		if !e.isDir() {
			s.stop = true
			return "", nil
		}
		hides = hides || opaque
		dir, name = joinRel(dir, first), rest
	}
}

// passThrough reads a directory on the way to another entry.
func (l *Layers) passThrough(dirfd int, name string) (e entry, opaque bool, err error) {
	e, err = l.readEntry(dirfd, name)
	if err == nil && e.isDir() {
		opaque, err = l.isOpaque(dirfd, name)
	}
	return e, opaque, err
}

// isOpaque says whether the directory name hides what lies under it. The mark
// "x" only says that there are xattr whiteouts inside.
func (l *Layers) isOpaque(dirfd int, name string) (bool, error) {
	value, err := l.xattr(dirfd, name, xattrOpaque)
	return string(value) == "y", err
}

// redirectOf returns a directory's redirect: a new name in the same parent, or
// an absolute path from the layers' root; "" where there is none.
func (l *Layers) redirectOf(dirfd int, name string) (string, error) {
	if !l.redirect {
		return "", nil
	}
	value, err := l.xattr(dirfd, name, xattrRedirect)
	return string(value), err
}
