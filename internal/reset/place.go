// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
)

// Suffix is what the name of a place's directory adds to the upper's.
const Suffix = ".ovl-reset"

// storeSuffix is the same for the store of internal/journal.
const storeSuffix = journal.Suffix

// Names in a place's directory.
const (
	fileRequest  = "request"
	fileDecided  = "decided"
	fileLast     = "last"
	fileTrim     = "trim"
	fileCmdline  = "cmdline"
	memberPrefix = "member-"
	dirNew       = "new"
	dirOld       = "old"
	newUpper     = "upper"
	newWork      = "work"
	newNote      = "store"
	wipeSuffix   = ".wipe"
)

// Overlay names the directories of an overlay.
type Overlay struct {
	Mount  string   // where it is mounted, which the keep list goes by; "/" if empty
	Lowers []string // topmost first; none where they are not known
	Upper  string
	Work   string
	Store  string // what its store is called where stores are not beside the uppers; by the upper's path if empty
}

// Place is where the reset of one overlay is kept: the directory that its upper
// is in. Close it after use.
type Place struct {
	Overlay
	parent *os.File // the directory that the upper is in
	name   string   // the upper's name there
	dir    *os.File // NAME.ovl-reset; nil where there is none
	refuse error    // why NAME.ovl-reset is none of ours
}

// Open opens the place of an overlay that is not mounted. That the upper itself
// is missing is no error.
func Open(o Overlay) (*Place, error) {
	upper := o.Upper
	if resolved, err := filepath.EvalSymlinks(upper); err == nil {
		upper = resolved
	}
	parent, name, err := openParent(upper)
	if err != nil {
		return nil, fmt.Errorf("open the directory that the upper %q is in: %w", o.Upper, err)
	}
	return newPlace(o, parent, name)
}

// OpenAt opens the place of a mounted overlay. upper is its upper directory,
// opened through a mount that also shows its parent.
func OpenAt(upper *os.File, o Overlay) (*Place, error) {
	parent, err := openAt(int(upper.Fd()), "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the directory that the upper %q is in: %w", o.Upper, err)
	}
	name, err := nameOf(upper, parent, filepath.Base(o.Upper))
	if err != nil {
		_ = parent.Close()
		return nil, fmt.Errorf("find the upper %q in its directory: %w", o.Upper, err)
	}
	return newPlace(o, parent, name)
}

// nameOf finds what a directory is called in its parent, which may be something
// else than when the overlay was mounted.
func nameOf(upper, parent *os.File, likely string) (string, error) {
	var want unix.Stat_t
	if err := unix.Fstat(int(upper.Fd()), &want); err != nil {
		return "", err
	}
	is := func(name string) bool {
		st, err := statAt(int(parent.Fd()), name)
		return err == nil && st.Dev == want.Dev && st.Ino == want.Ino
	}
	if likely != "." && likely != "/" && is(likely) {
		return likely, nil
	}
	names, err := parent.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if is(name) {
			return name, nil
		}
	}
	return "", &MountPointError{}
}

func newPlace(o Overlay, parent *os.File, name string) (*Place, error) {
	if o.Mount == "" {
		o.Mount = "/"
	}
	if o.Store == "" {
		o.Store = journal.StoreName(o.Upper)
	}
	p := &Place{Overlay: o, parent: parent, name: name}
	if err := p.openDir(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// openDir opens the place's directory; where it is none of ours, it notes why.
func (p *Place) openDir() error {
	dir, err := openDirAt(p.fd(), p.name+Suffix)
	var reason string
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		reason = "it is not a directory"
	case err != nil:
		return err
	default:
		if reason, err = foreign(dir); err != nil {
			return errors.Join(err, dir.Close())
		}
	}
	if reason != "" {
		p.refuse = &ForeignError{Path: p.path(""), Reason: reason}
		if dir != nil {
			return dir.Close()
		}
		return nil
	}
	p.dir = dir
	return nil
}

// Close releases the place.
func (p *Place) Close() error {
	err := p.parent.Close()
	if p.dir != nil {
		err = errors.Join(err, p.dir.Close())
	}
	return err
}

func (p *Place) fd() int { return int(p.parent.Fd()) }

// names lists the place's directory.
func (p *Place) names() ([]string, error) {
	dir, err := openAt(int(p.dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	return dir.Readdirnames(-1)
}

// path names a file of the place for people.
func (p *Place) path(name string) string {
	return filepath.Join(filepath.Dir(p.Overlay.Upper), p.name+Suffix, name)
}

// make makes the place's directory where it is missing.
func (p *Place) make() error {
	if p.dir != nil || p.refuse != nil {
		return p.refuse
	}
	if err := mkdirAt(p.fd(), p.name+Suffix); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := p.openDir(); err != nil || p.refuse != nil {
		return errors.Join(err, p.refuse)
	}
	return p.parent.Sync()
}

// foreign says why a file or directory cannot be trusted: somebody else could
// have made it, or could change it.
func foreign(f *os.File) (reason string, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Sprintf("it belongs to user %d with mode %04o, so others could have made it", st.Uid, st.Mode&0o7777), nil
	}
	return "", nil
}

// ForeignError says that what lies where a request would be is none, and why. It
// never leads to a reset.
type ForeignError struct {
	Path   string
	Reason string
}

func (e *ForeignError) Error() string { return fmt.Sprintf("%q is no request: %s", e.Path, e.Reason) }

// MountPointError says that an upper, or a work directory, is a mount point: it
// cannot be renamed aside.
type MountPointError struct{ Path string }

func (e *MountPointError) Error() string {
	if e.Path == "" {
		return "it is the root of its mount, so nothing can be kept beside it"
	}
	return fmt.Sprintf("%q is a mount point, so it cannot be renamed aside", e.Path)
}

// Unwrap returns EBUSY.
func (e *MountPointError) Unwrap() error { return unix.EBUSY }
