// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// A keeper goes through an upper and calls take for each entry that is kept: a
// directory before what is in it. Whiteouts are never kept.
type keeper struct {
	upper int
	take  func(k kept) error
}

// kept is an entry of the upper that is on the keep list.
type kept struct {
	rel  string // from the upper's root
	dir  int    // the directory that it is in, in the upper
	name string
	stat unix.Stat_t
	// content is where the lowers have a metacopy's content, if it would not be
	// found there any more: a directory above was renamed, and the new one is not.
	content string
}

func (e *kept) isDir() bool { return e.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// keepDir is a directory to look into.
type keepDir struct {
	rel   string
	left  matcher // nil where all of it is kept
	lower string  // what the lowers have at the same place: something else than rel below a renamed directory
}

func (k *keeper) run(m matcher) error {
	if len(m) == 0 {
		return nil
	}
	// Paths, not descriptors: the depth is not limited by their number.
	todo := []keepDir{{rel: ".", left: m, lower: "."}}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		below, err := k.look(at)
		if err != nil {
			return fmt.Errorf("look for what is kept in %q: %w", at.rel, err)
		}
		todo = append(todo, below...)
	}
	return nil
}

// look goes through a directory and returns those in it to look into.
func (k *keeper) look(at keepDir) (below []keepDir, err error) {
	fd, err := openBeneath(k.upper, at.rel)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	one := func(name string) error {
		next, err := k.entry(fd, at, name)
		if next != nil {
			below = append(below, *next)
		}
		return err
	}
	if at.left != nil {
		if names, ok := at.left.literals(); ok {
			for _, name := range names {
				if err := one(name); err != nil {
					return nil, err
				}
			}
			return below, nil
		}
	}
	for list := (dirents{fd: fd}); ; {
		name, _, more, err := list.next()
		if err != nil || !more {
			return below, err
		}
		if err := one(name); err != nil {
			return nil, err
		}
	}
}

func (k *keeper) entry(fd int, at keepDir, name string) (*keepDir, error) {
	next := keepDir{rel: path.Join(at.rel, name)}
	matched := at.left == nil
	if !matched {
		matched, next.left = at.left.step(name)
		if !matched && len(next.left) == 0 {
			return nil, nil
		}
	}
	st, err := statAt(fd, name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENAMETOOLONG) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := kept{rel: next.rel, dir: fd, name: name, stat: st}
	marks, err := e.marks()
	if err != nil || marks.whiteout {
		return nil, err
	}
	next.lower = path.Join(at.lower, name)
	switch {
	case strings.HasPrefix(marks.redirect, "/"):
		next.lower = strings.TrimPrefix(marks.redirect, "/")
	case marks.redirect != "":
		next.lower = path.Join(at.lower, marks.redirect)
	}
	if marks.metacopy && at.lower != at.rel {
		e.content = next.lower
	}
	if matched {
		if err := k.take(e); err != nil {
			return nil, err
		}
		next.left = nil
	}
	if !e.isDir() {
		return nil, nil
	}
	return &next, nil
}

// marks are what overlayfs has noted at an entry.
type marks struct {
	whiteout, metacopy bool
	redirect           string // "" for none
	origin             string // the attribute's name; "" for none
}

func (e *kept) marks() (m marks, err error) {
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		m.whiteout = e.stat.Rdev == 0
		return m, nil
	case unix.S_IFREG, unix.S_IFDIR:
	default: // symbolic links and devices: no descriptor to ask through
		return m, nil
	}
	fd, err := openFD(e.dir, e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return m, err
	}
	defer closeFD(fd)
	list, err := growing(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if err != nil {
		return m, err
	}
	for len(list) > 0 {
		var name []byte
		name, list = cutNUL(list)
		switch s := string(name); s {
		case "trusted.overlay.whiteout", "user.overlay.whiteout":
			m.whiteout = e.stat.Size == 0 && !e.isDir()
		case "trusted.overlay.metacopy", "user.overlay.metacopy":
			m.metacopy = true
		case "trusted.overlay.redirect", "user.overlay.redirect":
			value, err := growing(func(b []byte) (int, error) { return unix.Fgetxattr(fd, s, b) })
			if err != nil {
				return m, err
			}
			m.redirect = string(value)
		case "trusted.overlay.origin", "user.overlay.origin":
			m.origin = s
		}
	}
	return m, nil
}

func cutNUL(list []byte) (name, rest []byte) {
	for i, c := range list {
		if c == 0 {
			return list[:i], list[i+1:]
		}
	}
	return list, nil
}
