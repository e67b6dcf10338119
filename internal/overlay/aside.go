// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// aside is a whiteout, or what was taken for one, on its way out of the upper.
//
// Somebody may make a file in a whiteout's place between a look and an unlink.
// So it is renamed first, looked at where nobody else works, and then dropped or
// put back. It has to leave its directory: since Linux 6.17 overlayfs looks a
// whiteout up before it locks the directory, and then makes the user's file in
// place of whatever that whiteout is called by then, if it only is in the same
// directory.
type aside struct {
	from     int // the directory in the upper
	name     string
	to       int // the directory it is in now
	tempName string
	box      string // a directory of its own in from; "" where to is the upper's parent
}

// setAside moves an entry beside the upper, out of everybody's sight. A power
// cut leaves a stray whiteout there: harmless. Where the upper's parent cannot
// take it, for a quota's sake or because a mount ends there, it goes into a
// directory of its own.
func (r *restorer) setAside(dir int, name string) (*aside, error) {
	a := &aside{from: dir, name: name, to: r.besideUpper(), tempName: tempName()}
	if a.to >= 0 {
		err := renameNew(dir, name, a.to, a.tempName)
		if !errors.Is(err, unix.EXDEV) {
			return a, err
		}
	}
	box := tempName()
	if err := unix.Mkdirat(dir, box, 0o700); err != nil {
		return nil, err
	}
	a.box = box
	var err error
	if a.to, err = openBeneath(dir, box, unix.O_PATH|unix.O_DIRECTORY); err == nil {
		err = renameNew(dir, name, a.to, a.tempName)
	}
	if err != nil {
		a.close()
	}
	return a, err
}

// drop removes the entry for good.
func (a *aside) drop() error {
	err := unix.Unlinkat(a.to, a.tempName, 0)
	if err != nil {
		return errors.Join(err, a.putBack())
	}
	a.close()
	return nil
}

// putBack gives the entry its name again. Where that is taken by now, it keeps
// the temporary one, and the error says so.
func (a *aside) putBack() error {
	if err := renameNew(a.to, a.tempName, a.from, a.name); err != nil {
		where := "beside the upper directory"
		if a.box != "" {
			where = "in " + a.box + ", in its directory in the upper"
		}
		return fmt.Errorf("the upper's entry is now called %s, %s: %w", a.tempName, where, err)
	}
	a.close()
	return nil
}

func (a *aside) close() {
	if a.box == "" {
		return
	}
	if a.to >= 0 {
		closeFD(a.to)
	}
	_ = unix.Unlinkat(a.from, a.box, unix.AT_REMOVEDIR) // an empty directory is no harm
}

// besideUpper is the directory that the upper is in, -1 where its mount shows
// none.
func (r *restorer) besideUpper() int {
	if r.beside != nil {
		return *r.beside
	}
	beside := -1
	r.beside = &beside
	upper := r.upper.layers[0].fd()
	fd, err := openPath(upper, "..", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1
	}
	var child, parent unix.Stat_t
	if err := errors.Join(unix.Fstat(upper, &child), unix.Fstat(fd, &parent)); err != nil ||
		child.Dev != parent.Dev || child.Ino == parent.Ino {
		closeFD(fd)
		return -1
	}
	beside = fd
	return beside
}

func (r *restorer) closeBeside() {
	if r.beside != nil && *r.beside >= 0 {
		closeFD(*r.beside)
	}
	r.beside = nil
}

// renameNew renames, never over something. File systems that do not know
// RENAME_NOREPLACE answer EINVAL.
func renameNew(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if _, err := lstatAt(toDir, to); !errors.Is(err, unix.ENOENT) {
		return unix.EEXIST
	}
	return unix.Renameat(fromDir, from, toDir, to)
}
