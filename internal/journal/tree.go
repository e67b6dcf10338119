// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// node is an entry of a tree that is walked.
type node struct {
	dir  *os.File // the directory that it is in
	name string
	rel  string // from the top of the tree, "." for the top itself
	stat unix.Stat_t
}

func (n *node) isDir() bool { return n.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// walkTree visits what is at dir/name, and all that is below it: a directory
// before what it holds, names in their order. However deep it is, two
// descriptors do. No symbolic link is followed.
func walkTree(dir *os.File, name string, visit func(*node) error) error {
	st, err := lstatAt(dir, name)
	if err != nil {
		return err
	}
	top := &node{dir: dir, name: name, rel: ".", stat: st}
	if err := visit(top); err != nil || !top.isDir() {
		return err
	}
	var at *os.File // the directory that was read last: as a rule the next one is in it
	atRel := ""
	defer func() { _ = closeAll(at) }() // it was only read
	for todo := []string{"."}; len(todo) > 0; {
		rel := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		var d *os.File
		if parent, base := split(rel); at != nil && rel != "." && parent == atRel {
			d, err = overlay.OpenBeneath(at, base, unix.O_RDONLY|unix.O_DIRECTORY)
		} else {
			d, err = overlay.OpenBeneath(dir, join(name, rel), unix.O_RDONLY|unix.O_DIRECTORY)
		}
		if err != nil {
			return err
		}
		_ = closeAll(at)
		at, atRel = d, rel
		below, err := walkDir(d, rel, visit)
		if err != nil {
			return err
		}
		todo = append(todo, below...)
	}
	return nil
}

// walkDir visits the entries of one directory, and returns those that are
// directories, the last first.
func walkDir(d *os.File, rel string, visit func(*node) error) (dirs []string, err error) {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		st, err := lstatAt(d, name)
		if errors.Is(err, unix.ENOENT) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		n := &node{dir: d, name: name, rel: join(rel, name), stat: st}
		if err := visit(n); err != nil {
			return nil, err
		}
		if n.isDir() {
			dirs = append(dirs, n.rel)
		}
	}
	slices.Reverse(dirs)
	return dirs, nil
}

// join joins clean relative paths.
func join(dir, rel string) string {
	switch {
	case dir == ".":
		return rel
	case rel == ".":
		return dir
	}
	return dir + "/" + rel
}

// split splits a clean relative path at its last component.
func split(rel string) (dir, name string) {
	cut := strings.LastIndexByte(rel, '/')
	if cut < 0 {
		return ".", rel
	}
	return rel[:cut], rel[cut+1:]
}

func lstatAt(dir *os.File, name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	for {
		err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if !errors.Is(err, unix.EINTR) {
			return st, err
		}
	}
}

// procPath names an entry for calls that take no descriptor of a directory.
func procPath(dir *os.File, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + name
}

// room is what a tree takes on disk. A backup that is a link to what is still in
// the upper takes none of its own.
func room(dir *os.File, name string) (total int64, err error) {
	err = walkTree(dir, name, func(n *node) error {
		if n.isDir() || n.stat.Nlink == 1 {
			total += n.stat.Blocks * 512
		}
		return nil
	})
	if errors.Is(err, os.ErrNotExist) { // pruned since
		err = nil
	}
	return total, err
}
