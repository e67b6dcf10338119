// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"golang.org/x/sys/unix"
)

// hiddenDir is a directory of the image that does not show, and the upper's of
// the same path, if there is one.
type hiddenDir struct {
	image []place
	upper string // "" for none
}

// countHidden counts the entries of the image at and below a directory that the
// upper neither has nor deletes: each of those has, or is below, a deviation of
// its own.
func (d *openNode) countHidden(image []place, upper string) (int64, error) {
	total := int64(0)
	todo := []hiddenDir{{image, upper}}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n, dirs, err := d.hiddenIn(at)
		if err != nil {
			return total, err
		}
		total += n
		todo = append(todo, dirs...)
		if d.s.walk.over.Load() {
			break
		}
	}
	return total, nil
}

func (d *openNode) hiddenIn(at hiddenDir) (n int64, dirs []hiddenDir, err error) {
	dir, err := d.layers.open(Dir{Rel: at.upper, inUpper: at.upper != "", lowers: at.image})
	if err != nil {
		return 0, nil, err
	}
	defer dir.close()
	for i := range dir.lower {
		var e dirent
		list := dirents{}
		for list.start(dir.lower[i]); list.next(&e); {
			if i > 0 && d.above(dir, i, e.name) {
				continue // counted there
			}
			low, found, err := dir.lowerEntry(string(e.name))
			if err != nil {
				return n, dirs, err
			}
			if !found {
				continue
			}
			child, counts, err := d.hiddenEntry(dir, at.upper, string(e.name))
			if err != nil {
				return n, dirs, err
			}
			if counts {
				n++
			}
			if low.isDir() && (counts || child != "") {
				dirs = append(dirs, hiddenDir{low.dirs, child})
			}
		}
		if list.err != nil {
			return n, dirs, list.err
		}
	}
	return n, dirs, nil
}

// above says that a layer further up has the name.
func (d *openNode) above(dir *openDir, i int, name []byte) bool {
	var st unix.Stat_t
	for _, fd := range dir.lower[:i] {
		if statName(fd, name, &st) == nil {
			return true
		}
	}
	return false
}

// hiddenEntry says whether an entry of the image counts: where the upper has
// something of that name it does not. Where that is a directory that hides
// nothing by a mark of its own, the two are looked at together: child is the
// upper's.
func (d *openNode) hiddenEntry(dir *openDir, upper, name string) (child string, counts bool, err error) {
	if upper == "" {
		return "", true, nil
	}
	up, found, err := dir.upperEntry(name)
	if err != nil || !found || !up.isDir() {
		return "", err == nil && !found, err
	}
	opaque, err := d.layers.isOpaque(dir.upper, name)
	if err != nil || opaque {
		return "", false, err
	}
	redirect, err := d.layers.redirectOf(dir.upper, name)
	if err != nil || redirect != "" {
		return "", false, err
	}
	return joinRel(upper, name), false, nil
}
