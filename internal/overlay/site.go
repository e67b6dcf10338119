// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Site is the upper layer of an overlay, for who puts entries into it that were
// there before: behind a mounted overlay's back, or while it is not mounted.
// Prove it before the first change, and Settle after the last.
type Site struct {
	Name    string   // the mount point, or the upper of an unmounted overlay
	overlay *Overlay // nil for an unmounted one
	layers  *Layers
	proven  func() error
}

// Site is this overlay's. Errors are those of Upper.
func (o *Overlay) Site() (*Site, error) {
	if _, err := o.Upper(); err != nil {
		return nil, err
	}
	s := &Site{Name: o.Mount.Point, overlay: o, layers: o.layers()}
	s.proven = func() error {
		if err := (&restorer{Overlay: o}).mayFlush(); err != nil {
			return err
		}
		_, err := o.ProvenUpper()
		s.layers = o.layers()
		return err
	}
	return s, nil
}

// Site is this overlay's.
func (u *Unmounted) Site() *Site {
	return &Site{Name: u.Layers.upper.Path, layers: u.Layers, proven: u.inUse}
}

// Prove makes sure that the upper is this overlay's, and that what is changed in
// it can be shown. Errors are those of ProvenUpper, a *FlushError, or, for an
// unmounted overlay, a *MountedError.
func (s *Site) Prove() error { return s.proven() }

// Tidy removes what a crash during Prove can have left: an empty file in the root
// directory, which shows.
func (s *Site) Tidy() error {
	if s.overlay == nil {
		return nil
	}
	return s.overlay.removeStrays()
}

// Upper is the upper layer; after Prove perhaps another one than before.
func (s *Site) Upper() *Layer { return s.layers.upper }

// XattrPrefix is what the names of the overlay's xattrs begin with.
func (s *Site) XattrPrefix() string { return s.layers.prefix }

// OpenDir opens a directory of the upper, by its path from the overlay's root.
// No symbolic link is followed.
func (s *Site) OpenDir(rel string) (*os.File, error) {
	return OpenBeneath(s.layers.upper.root, rel, unix.O_RDONLY|unix.O_DIRECTORY)
}

// CopyUp has the kernel copy a directory of the image into the upper, by its path
// from the overlay's root; with dry it only looks whether it could be. The error is
// ENOENT where the merged view has no such directory, or there is none.
func (s *Site) CopyUp(rel string, dry bool) error {
	if s.overlay == nil {
		return unix.ENOENT
	}
	dir, err := s.overlay.OpenMerged(rel)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if dry {
		return nil
	}
	return unix.Fchown(int(dir.Fd()), -1, -1) // which changes nothing else
}

// ForgetOrigins takes the kernel's notes away of which entries of the image these
// entries of the upper, no directories, were copied from. They are numbers: in
// another image they may be those of other files, which could not be opened then.
func (s *Site) ForgetOrigins(rels []string) error {
	var dir *os.File
	defer func() {
		if dir != nil {
			_ = dir.Close()
		}
	}()
	last, forgotten := "", false
	for _, rel := range rels {
		parent, name := splitRel(rel)
		if dir == nil || parent != last {
			next, err := s.OpenDir(parent)
			if err != nil {
				return err
			}
			if dir != nil {
				_ = dir.Close()
			}
			dir, last = next, parent
		}
		if st, err := lstatAt(int(dir.Fd()), name); err != nil || st.Nlink > 1 {
			continue // the index counts links by them
		}
		err := unix.Lremovexattr(procPath(int(dir.Fd()))+"/"+name, s.layers.prefix+xattrOrigin)
		switch {
		case err == nil:
			forgotten = true
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP): // it has none
		default:
			return fmt.Errorf("forget the origin of %q: %w", rel, err)
		}
	}
	if s.overlay == nil || !forgotten {
		return nil
	}
	return s.overlay.flush()
}

// IsWhiteout says whether name, in a directory of the upper, is a whiteout. The
// error is ENOENT where there is no such name.
func (s *Site) IsWhiteout(dir *os.File, name string) (bool, error) {
	e, err := s.layers.readEntry(int(dir.Fd()), name)
	return e.whiteout, err
}

// OpenBeneath opens rel, a clean relative path or ".", below a directory. It may
// be of any length. No symbolic link is followed, and no other mount entered.
func OpenBeneath(dir *os.File, rel string, flags int) (*os.File, error) {
	fd, err := openBeneath(int(dir.Fd()), rel, flags)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: rel, Err: err}
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// RenameNew renames, but never over something: the error is EEXIST then.
func RenameNew(fromDir *os.File, from string, toDir *os.File, to string) error {
	return renameNew(int(fromDir.Fd()), from, int(toDir.Fd()), to)
}

// Settle makes a mounted overlay show what the upper has by now at these paths,
// and verifies that it does. It returns an error for each, nil where it is
// right: a *BusyError where somebody holds what showed before, or a *FlushError.
func (s *Site) Settle(rels []string) []error {
	errs := make([]error, len(rels))
	o := s.overlay
	if o == nil || len(rels) == 0 {
		return errs
	}
	if err := o.flush(); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	r := &restorer{Overlay: o}
	byParent := map[string][]*job{}
	var parents []string
	at := map[*job]int{}
	for i, rel := range rels {
		path, ok := o.PathOf(rel)
		if !ok || path == o.Mount.Point {
			continue // this mount does not show it
		}
		j := &job{Result: Result{Path: path}, parent: parentPath(path), rel: rel}
		parent, name := splitRel(strings.TrimPrefix(path, strings.TrimSuffix(o.Mount.Point, "/")+"/"))
		j.name = name
		if byParent[parent] == nil {
			parents = append(parents, parent)
		}
		byParent[parent] = append(byParent[parent], j)
		at[j] = i
	}
	var failed []mismatch
	for _, parent := range parents {
		failed = append(failed, s.settleDir(r, parent, byParent[parent])...)
	}
	held := findHolders(failed)
	for _, m := range failed {
		if holders := held[m.job]; len(holders) > 0 || isOldEntry(m.err) {
			m.err = &BusyError{Holders: holders}
		}
		errs[at[m.job]] = m.err
	}
	return errs
}

// settleDir looks at entries of one directory, as the mount shows it.
func (s *Site) settleDir(r *restorer, parent string, jobs []*job) (failed []mismatch) {
	fd, err := openBeneath(r.fd(), parent, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil // deleted, or something is mounted over it: there is nothing to see
	}
	defer closeFD(fd)
	upper := map[*job]*entry{}
	var known []*job
	for _, j := range jobs {
		e, err := s.upperEntry(j.rel)
		switch {
		case err == nil:
			upper[j], j.orphan = &e, e.whiteout
			known = append(known, j)
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			if has, err := s.lowerHas(j.rel); err == nil {
				j.orphan = !has
				known = append(known, j)
			}
		default:
			failed = append(failed, mismatch{j, err})
		}
	}
	if len(known) == 0 {
		return failed
	}
	listed, err := r.listing(fd, known)
	for _, j := range known {
		if err != nil {
			failed = append(failed, mismatch{j, fmt.Errorf("list its directory: %w", err)})
			continue
		}
		if err := shows(fd, j, upper[j], listed[j.name]); err != nil {
			failed = append(failed, mismatch{j, err})
		}
	}
	return failed
}

func (s *Site) upperEntry(rel string) (entry, error) {
	dir, name := splitRel(rel)
	fd, err := openBeneath(s.layers.upper.fd(), dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return entry{}, err
	}
	defer closeFD(fd)
	return s.layers.readEntry(fd, name)
}

// lowerHas says whether a lower has what shows at rel if the upper has nothing.
func (s *Site) lowerHas(rel string) (bool, error) {
	if _, err := s.overlay.Lowers(); err != nil {
		return false, err
	}
	parent, name := splitRel(rel)
	dir, err := s.overlay.layers().openAt(parent)
	if err != nil {
		return false, err
	}
	defer dir.close()
	_, found, err := dir.lowerEntry(name)
	return found, err
}

// shows compares what a directory of the merged view shows with what the upper
// has.
func shows(dir int, j *job, up *entry, listed bool) error {
	got, err := lstatAt(dir, j.name)
	switch {
	case !j.shouldShow() && (err == nil || listed):
		return errStillThere
	case !j.shouldShow():
		return nil
	case err != nil:
		return fmt.Errorf("look it up: %w", err)
	case !listed:
		return errNotListed
	case got.Nlink == 0, up != nil && !equalAttributes(&up.stat, &got):
		return errOldEntry
	}
	return nil
}
