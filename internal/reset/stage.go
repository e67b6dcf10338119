// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
)

// stager builds what will take an overlay's upper and work directory's places.
type stager struct {
	*Place
	order  *Order
	upper  *os.File  // the old one; nil where it is missing
	fresh  *os.File  // the new one
	made   []madeDir // directories in it, parents first
	lowers []int
	kept   int
	copied map[uint64]string // what had to be copied and has more names, by its inode
}

// madeDir is a directory of the new upper.
type madeDir struct {
	rel  string
	kept bool // as the upper had it; else as the image has it
}

// stage builds new/ for one overlay, durably. The upper is only read, but for
// the number of links of what is kept.
func (p *Place) stage(order *Order) (kept int, err error) {
	s := &stager{Place: p, order: order}
	defer s.close()
	dir := int(p.dir.Fd())
	if err := mkdirAt(dir, dirOld); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	if err := p.setAside(dir, dirNew, ""); err != nil {
		return 0, fmt.Errorf("set aside what an interrupted reset has left: %w", err)
	}
	if err := s.openLayers(); err != nil {
		return 0, err
	}
	if err := s.build(); err != nil {
		return 0, err
	}
	f, err := openAt(dir, fileTrim, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	// One for all: whatever was made has to be on disk before the decision.
	if err := unix.Syncfs(dir); err != nil {
		return 0, fmt.Errorf("make the new upper durable: %w", err)
	}
	return s.kept, nil
}

func (s *stager) close() {
	for _, f := range []*os.File{s.upper, s.fresh} {
		if f != nil {
			_ = f.Close()
		}
	}
	for _, fd := range s.lowers {
		closeFD(fd)
	}
}

// openLayers opens what is there, and makes sure that it can be renamed.
func (s *stager) openLayers() (err error) {
	if s.upper, err = movable(s.parent, s.name, s.Overlay.Upper); err != nil {
		return fmt.Errorf("open the upper: %w", err)
	}
	for _, lower := range s.Lowers {
		fd, err := openFD(unix.AT_FDCWD, lower, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("open a lower: %w", err)
		}
		s.lowers = append(s.lowers, fd)
	}
	return nil
}

// movable opens a directory that is to be renamed; nil where there is none.
func movable(parent *os.File, name, path string) (*os.File, error) {
	dir, err := openDirAt(int(parent.Fd()), name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	switch fd := int(dir.Fd()); {
	case isMountPoint(int(parent.Fd()), fd):
		err = &MountPointError{Path: path}
	case held(fd):
		err = fmt.Errorf("%q is immutable or append-only (chattr), so it cannot be renamed aside: %w", path, unix.EPERM)
	default:
		return dir, nil
	}
	return nil, errors.Join(err, dir.Close())
}

func (s *stager) build() error {
	if err := mkdirAt(int(s.dir.Fd()), dirNew); err != nil {
		return err
	}
	box, err := openDirAt(int(s.dir.Fd()), dirNew)
	if err != nil {
		return err
	}
	defer func() { _ = box.Close() }()
	if s.fresh, err = makeLike(box, newUpper, s.upper); err != nil {
		return fmt.Errorf("make a new upper: %w", err)
	}
	if s.upper != nil {
		k := keeper{upper: int(s.upper.Fd()), take: s.keep}
		if err := k.run(newMatcher(s.order.Keep, s.Mount)); err != nil {
			return err
		}
		if err := s.setDirTimes(); err != nil {
			return err
		}
	}
	workParent, name, err := s.openWork()
	if err != nil {
		return err
	}
	defer func() { _ = workParent.Close() }()
	work, err := movable(workParent, name, s.Work)
	if err != nil {
		return fmt.Errorf("open the work directory: %w", err)
	}
	like := work
	if like == nil {
		like = s.upper
	}
	fresh, err := makeLike(box, newWork, like)
	if err != nil {
		return fmt.Errorf("make a new work directory: %w", err)
	}
	if work != nil {
		err = work.Close()
	}
	if err = errors.Join(err, fresh.Close()); err != nil || s.order.Stores == "" {
		return err
	}
	// From now on the store there is one of the time before. What is told of it has
	// to be written before the decision: there may be no room after it.
	note := journal.Gone{Dir: s.order.Stores, Wipe: s.order.Wipe}
	return writeFile(box, newNote, note.Encode())
}

// openWork opens the directory that the work directory is in.
func (p *Place) openWork() (*os.File, string, error) {
	if p.Work == "" {
		return nil, "", fmt.Errorf("no work directory is known for the overlay on %q", p.Mount)
	}
	work := p.Work
	if resolved, err := filepath.EvalSymlinks(work); err == nil {
		work = resolved
	}
	parent, name, err := openParent(work)
	if err != nil {
		return nil, "", fmt.Errorf("open the directory that the work directory %q is in: %w", p.Work, err)
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(int(parent.Fd()), &a), unix.Fstat(p.fd(), &b)); err != nil || a.Dev != b.Dev {
		_ = parent.Close()
		if err == nil {
			err = fmt.Errorf("the work directory %q is not on the upper's file system: %w", p.Work, unix.EXDEV)
		}
		return nil, "", err
	}
	return parent, name, nil
}

// makeLike makes a directory with the attributes of another one, or, without
// one, as mkdir of root would.
func makeLike(parent *os.File, name string, like *os.File) (*os.File, error) {
	if err := mkdirAt(int(parent.Fd()), name); err != nil {
		return nil, err
	}
	dir, err := openDirAt(int(parent.Fd()), name)
	if err != nil {
		return nil, err
	}
	if like == nil {
		err = dir.Chmod(0o755)
	} else {
		err = copyAttributes(int(like.Fd()), int(dir.Fd()))
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// keep takes an entry over into the new upper.
func (s *stager) keep(e kept) error {
	dir, err := s.dirFor(path.Dir(e.rel))
	if err != nil {
		return fmt.Errorf("make the directory of %q: %w", e.rel, err)
	}
	defer closeFD(dir)
	s.kept++
	if e.isDir() {
		return s.keepDir(e, dir)
	}
	if e.content == "" {
		err = unix.Linkat(e.dir, e.name, dir, e.name, 0)
	}
	if e.content != "" || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EOPNOTSUPP) {
		// Or immutable, too many links already, or no hard links here.
		err = s.copyFile(&e, dir)
	}
	if err != nil {
		return fmt.Errorf("keep %q: %w", e.rel, err)
	}
	marks, err := e.marks()
	if err != nil || marks.origin == "" {
		return err
	}
	// As overlayfs marks a directory with a copied-up file in it.
	impure := strings.TrimSuffix(marks.origin, "origin") + "impure"
	if err := unix.Fsetxattr(dir, impure, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark the directory of %q: %w", e.rel, err)
	}
	return nil
}

// keepDir takes a directory over with its own attributes.
func (s *stager) keepDir(e kept, parent int) error {
	err := mkdirAt(parent, e.name)
	if err != nil && !errors.Is(err, unix.EEXIST) { // there already as a parent of something else
		return err
	}
	from, err := openDirAt(e.dir, e.name)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := openDirAt(parent, e.name)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	s.made = append(s.made, madeDir{e.rel, true})
	return copyAttributes(int(from.Fd()), int(to.Fd()))
}

// dirFor opens a directory of the new upper, making those that are missing.
func (s *stager) dirFor(rel string) (int, error) {
	at, err := openFD(int(s.fresh.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil || rel == "." {
		return at, err
	}
	way := ""
	for name := range strings.SplitSeq(rel, "/") {
		way = path.Join(way, name)
		next, err := openFD(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			next, err = s.makeParent(at, name, way)
		}
		closeFD(at)
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

// makeParent makes a directory that something kept needs: as the image has it,
// and as the upper has it where the image has none.
func (s *stager) makeParent(at int, name, rel string) (int, error) {
	like, err := s.likeOf(rel)
	if err != nil {
		return -1, err
	}
	defer closeFD(like)
	if err := mkdirAt(at, name); err != nil {
		return -1, err
	}
	dir, err := openFD(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	if err := copyAttributes(like, dir); err != nil {
		closeFD(dir)
		return -1, err
	}
	s.made = append(s.made, madeDir{rel, false})
	return dir, nil
}

// likeOf opens the directory that a new one is made after.
func (s *stager) likeOf(rel string) (int, error) {
	for _, lower := range s.lowers {
		fd, err := openBeneath(lower, rel)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			break // a file, a link or a whiteout: it hides what is below
		}
	}
	return openBeneath(int(s.upper.Fd()), rel)
}

// setDirTimes gives the new directories the times of those that they are made
// after, when nothing is put into them any more.
func (s *stager) setDirTimes() error {
	for _, m := range slices.Backward(s.made) {
		if err := s.setDirTime(m); err != nil {
			return fmt.Errorf("set the times of %q: %w", m.rel, err)
		}
	}
	return nil
}

func (s *stager) setDirTime(m madeDir) error {
	like := s.likeOf
	if m.kept {
		like = func(rel string) (int, error) { return openBeneath(int(s.upper.Fd()), rel) }
	}
	from, err := like(m.rel)
	if err != nil {
		return err
	}
	defer closeFD(from)
	to, err := openBeneath(int(s.fresh.Fd()), m.rel)
	if err != nil {
		return err
	}
	defer closeFD(to)
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	return setTimes(&st, to, ".")
}
