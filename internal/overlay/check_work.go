// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// work reaches the work directory of a mounted overlay, for reading. It is known
// by its name, by the directory that the kernel keeps in it, and by its file
// system.
func (o *Overlay) work() (*Layer, error) {
	path := o.Mount.Config.Work
	unreached := &UnreachedError{Layer: "work", Path: path.Path}
	upper, err := o.Upper()
	if err != nil || path.IsZero() {
		return nil, errors.Join(err, unreached)
	}
	for c := range o.candidates(path) {
		layer, err := openCandidate(path, c)
		if err != nil {
			continue
		}
		_, err = lstatAt(layer.fd(), "work")
		if err == nil && sameDevice(layer.fd(), upper.fd()) {
			layer.Sure = Named
			return layer, nil
		}
		_ = layer.root.Close()
	}
	return nil, unreached
}

func sameDevice(a, b int) bool {
	var sa, sb unix.Stat_t
	return unix.Fstat(a, &sa) == nil && unix.Fstat(b, &sb) == nil && sa.Dev == sb.Dev
}

// checkWork looks at the work directory.
func (c *checker) checkWork() error {
	if !c.mounted {
		if !sameDevice(c.work.fd(), c.layers.upper.fd()) {
			c.foundInWork(WorkElsewhere, ".", "the work directory is on another file system than the upper")
		}
		inside, err := isBelow(c.work.fd(), c.layers.upper.fd())
		if err != nil {
			return fmt.Errorf("see where the work directory is: %w", err)
		}
		if inside {
			c.foundInWork(WorkInUpper, ".", "the work directory is in the upper, or is the upper itself")
			return nil
		}
		if _, err := lstatIn(c.work.fd(), "work/incompat/volatile"); err == nil {
			c.foundInWork(VolatileLeft, "work/incompat/volatile", "the overlay was mounted with volatile, which leaves this mark")
		}
	}
	return c.leftovers()
}

func (c *checker) foundInWork(code Code, path, what string) {
	f := newFinding(code, path, "%s", what)
	f.In = InWork
	c.found(f)
}

// isBelow says whether a directory is another one, or in it.
func isBelow(fd, dir int) (bool, error) {
	var want unix.Stat_t
	if err := unix.Fstat(dir, &want); err != nil {
		return false, err
	}
	at, err := openPath(fd, ".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false, err
	}
	defer func() { closeFD(at) }()
	for last := (inode{}); ; {
		var st unix.Stat_t
		if err := unix.Fstat(at, &st); err != nil {
			return false, err
		}
		if st.Dev == want.Dev && st.Ino == want.Ino {
			return true, nil
		}
		if last == inodeOf(&st) { // the root is its own parent
			return false, nil
		}
		last = inodeOf(&st)
		up, err := openPath(at, "..", unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return false, err
		}
		closeFD(at)
		at = up
	}
}

// lstatIn is lstat of a path below a directory, on its own mount.
func lstatIn(dirfd int, rel string) (unix.Stat_t, error) {
	dir, name := splitRel(rel)
	fd, err := openBeneath(dirfd, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return unix.Stat_t{}, err
	}
	defer closeFD(fd)
	return lstatAt(fd, name)
}

// leftovers finds what copy-ups that were interrupted, by a power cut as a rule,
// left in work/work. The kernel removes it when it mounts the overlay the next
// time.
//
// A whiteout there is none: since Linux 5.8 the kernel keeps one, to link others
// from, and leaves it behind at each unmount. On a mounted overlay copy-ups may
// be going on. What is older than this boot is none of those; what nobody has
// written to for minutes is hardly one, and is a notice; the rest is not told of.
func (c *checker) leftovers() error {
	fd, err := openBeneath(c.work.fd(), "work", unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the work directory: %w", err)
	}
	defer closeFD(fd)
	names, err := readNames(fd)
	if err != nil {
		return fmt.Errorf("read the work directory: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		st, err := lstatAt(fd, name)
		if err != nil || !isLeftover(name, &st) {
			continue
		}
		f := newFinding(WorkLeftover, "work/"+name, "%s that a copy-up left behind when it was interrupted", article(st.Mode))
		f.In = InWork
		if c.mounted && !olderThanBoot(&st) {
			idle := timeNow().Sub(time.Unix(st.Ctim.Unix()))
			if idle < leftoverIdle {
				continue
			}
			f.What = fmt.Sprintf("%s of a copy-up that was interrupted, or is going on: nothing was written to it for %d minutes",
				article(st.Mode), int(idle.Minutes()))
			f.Severity = Notice
		}
		c.found(f)
	}
	return nil
}

// leftoverIdle is when a copy-up is taken to be dead: it writes all the time.
const leftoverIdle = 5 * time.Minute

// timeNow is for the tests.
var timeNow = time.Now

// isLeftover knows the kernel's names for temporary entries, "#" and a number.
func isLeftover(name string, st *unix.Stat_t) bool {
	number, ok := strings.CutPrefix(name, "#")
	isWhiteout := st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
	return ok && number != "" && strings.Trim(number, "0123456789abcdef") == "" && !isWhiteout
}

func olderThanBoot(st *unix.Stat_t) bool {
	boot, err := bootTime()
	// A minute to spare: clocks are set.
	return err == nil && time.Unix(st.Ctim.Unix()).Before(boot.Add(-time.Minute))
}

// bootTime is for the tests: those in a guest run minutes after its boot.
var bootTime = func() (time.Time, error) {
	var up unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)
	return time.Now().Add(-time.Duration(up.Nano())), err
}
