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
// look for in the next. Only the last component can be a result, but the
// directories on the way have their say about the layers below: an opaque one
// hides them, and a redirect changes the way there. An absolute redirect leads
// out from under an opaque directory.
func (s *search) pathInLayer(layer int, path string) (next string, err error) {
	here, below, hides := ".", ".", false // the way in this layer, and in those below
	for {
		name, rest, more := strings.Cut(path, "/")
		dirfd, err := openBeneath(s.layers.lowers[layer].fd(), here, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return "", err
		}
		if !more {
			next, err := s.step(layer, here, dirfd, name)
			closeFD(dirfd)
			if strings.HasPrefix(next, "/") {
				return next, err
			}
			s.stop = s.stop || hides
			return "/" + joinRel(below, next), err
		}
		e, opaque, redirect, err := s.layers.passThrough(dirfd, name)
		closeFD(dirfd)
		if errors.Is(err, unix.ENOENT) {
			s.stop = hides
			return "/" + joinRel(below, path), nil
		}
		if err != nil {
			return "", err
		}
		if !e.isDir() {
			s.stop = true
			return "", nil
		}
		switch {
		case opaque:
			hides = true
			below = joinRel(below, name)
		case strings.HasPrefix(redirect, "/"):
			hides = false
			below = strings.Trim(redirect, "/")
		case redirect != "":
			below = joinRel(below, redirect)
		default:
			below = joinRel(below, name)
		}
		here, path = joinRel(here, name), rest
	}
}

// passThrough reads a directory on the way to another entry.
func (l *Layers) passThrough(dirfd int, name string) (e entry, opaque bool, redirect string, err error) {
	if e, err = l.readEntry(dirfd, name); err != nil || !e.isDir() {
		return e, false, "", err
	}
	if opaque, err = l.isOpaque(dirfd, name); err == nil && !opaque {
		redirect, err = l.redirectOf(dirfd, name)
	}
	return e, opaque, redirect, err
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
