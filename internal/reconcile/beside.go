// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// BesideSuffix is what the name of the image's version of an entry has in
// addition, where it is put beside the user's.
const BesideSuffix = ".ovl-new"

// besidePrefix begins the name of one that is being written.
const besidePrefix = ".ovl-restore-tmp."

// maxName is how long a name can be.
const maxName = 255

// canBeside says whether there is room for such a name.
func canBeside(rel string) bool {
	_, name := splitRel(rel)
	return len(name)+len(BesideSuffix) <= maxName
}

// putBeside writes the image's version of an entry beside it: complete, on disk
// and with the image's mode, owner, times and extended attributes, or not at all.
// Nothing of that name may be there.
func putBeside(t *Target, image side, item *Item, tx *journal.Tx) (err error) {
	dirRel, name := splitRel(item.Rel)
	a, err := image.Read(item.imageRel)
	if err != nil {
		return err
	}
	dir, err := t.openDir(dirRel)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	// One name for all tries, so that the next removes what a crash has left.
	temp := besidePrefix + "beside"
	tempRel := temp
	if dirRel != "." {
		tempRel = dirRel + "/" + temp
	}
	fd := int(dir.Fd())
	if err := unix.Unlinkat(fd, temp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove what an interrupted run has left: %w", err)
	}
	for _, rel := range []string{tempRel, item.Rel + BesideSuffix} {
		if err := tx.Created(rel); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(fd, temp, 0) // the journal knows of it
		}
	}()
	if a.Type == unix.S_IFLNK {
		err = unix.Symlinkat(a.Target, fd, temp)
	} else {
		err = copyContent(image, item.imageRel, fd, temp)
	}
	if err == nil {
		err = dress(fd, temp, &a)
	}
	if err == nil {
		err = unix.Renameat2(fd, temp, fd, name+BesideSuffix, unix.RENAME_NOREPLACE)
	}
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", name+BesideSuffix, err)
	}
	return nil
}

func copyContent(image side, rel string, dir int, name string) error {
	from, err := image.Open(rel)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(fd), name)
	_, err = io.Copy(to, onlyReader{from})
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

// dress gives an entry the owner, attributes, mode and times of another. The mode
// comes late: a new owner takes away its special bits.
func dress(dir int, name string, a *overlay.Attributes) error {
	if err := unix.Fchownat(dir, name, int(a.Stat.Uid), int(a.Stat.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	path := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + name
	for _, x := range a.Xattrs {
		// A security module labels what it wants to; user attributes of a symbolic
		// link cannot be.
		if err := unix.Lsetxattr(path, x.Name, []byte(x.Value), 0); err != nil && !strings.HasPrefix(x.Name, "security.selinux") {
			return fmt.Errorf("set %s: %w", x.Name, err)
		}
	}
	if a.Type != unix.S_IFLNK {
		if err := unix.Fchmodat(dir, name, a.Stat.Mode&0o7777, 0); err != nil {
			return err
		}
	}
	if a.Type == unix.S_IFDIR {
		return nil // its times are those of the last change in it
	}
	times := []unix.Timespec{a.Stat.Mtim, a.Stat.Mtim}
	return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// adopt gives a directory of the upper the image's mode, owner and extended
// attributes.
func adopt(t *Target, image side, item *Item, tx *journal.Tx) error {
	layers, err := t.layers()
	if err != nil {
		return err
	}
	upper := layers.UpperReader()
	defer upper.Close()
	was, err := upper.Read(item.Rel)
	if err != nil {
		return err
	}
	a, err := image.Read(item.imageRel)
	if err != nil {
		return err
	}
	if was.Type != unix.S_IFDIR || a.Type != unix.S_IFDIR {
		return unix.ESTALE
	}
	parent, name := splitRel(item.Rel)
	dir, err := t.openDir(parent)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	fd := int(dir.Fd())
	if err := tx.Attributes(fd, name, item.Rel); err != nil {
		return err
	}
	for _, x := range was.Xattrs {
		if slices.ContainsFunc(a.Xattrs, func(y overlay.Xattr) bool { return x.Name == y.Name }) {
			continue
		}
		err := unix.Lremovexattr("/proc/self/fd/"+strconv.Itoa(fd)+"/"+name, x.Name)
		if err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("remove %s: %w", x.Name, err)
		}
	}
	if err := dress(fd, name, &a); err != nil {
		return err
	}
	return unix.Fsync(fd)
}
