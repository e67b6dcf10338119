// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Rel says where on the overlay an absolute path lies, from the overlay's root:
// what DiffOptions.Paths want. Symbolic links in its parents are followed, its
// last component is not, and what does not exist any more is taken as written.
// The error is EXDEV for a path that lies elsewhere.
func (o *Overlay) Rel(path string) (string, error) {
	if fd, err := openPath(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW); err == nil {
		closeFD(fd)
		dir, err := o.resolve(path)
		return dir.rel, err
	}
	clean, parent, name, err := cleanPath(path)
	if err != nil {
		return "", err
	}
	dir, err := o.resolve(parent)
	if errors.Is(err, unix.ENOENT) && parentPath(clean) != "" {
		rel, err := o.Rel(parent)
		return joinRel(rel, name), err
	}
	if err != nil {
		return "", err
	}
	return joinRel(dir.rel, name), nil
}

// RootRel is where on the overlay its mount begins: "." but for a bind of one of
// its directories.
func (o *Overlay) RootRel() string { return o.rootRel() }

// PathOf is the absolute path of rel below the mount point; false for what this
// mount does not show.
func (o *Overlay) PathOf(rel string) (string, bool) {
	if root := o.rootRel(); root != "." {
		below, ok := below(root, rel)
		if !ok {
			return "", false
		}
		rel = below
	}
	if rel == "." {
		return o.Mount.Point, true
	}
	return strings.TrimSuffix(o.Mount.Point, "/") + "/" + rel, true
}
