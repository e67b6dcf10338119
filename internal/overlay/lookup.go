// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// lookedUp is a directory of the merged view that was found in the layers.
type lookedUp struct {
	path string // as the jobs name it; "" for none
	dir  resolvedDir
	err  error
	// open is nil until a layer was read.
	open *openDir
}

func (l *lookedUp) close() {
	if l.open != nil {
		l.open.close()
	}
	*l = lookedUp{}
}

// forget drops the directory that was looked up last, before things change.
func (r *restorer) forget() { r.parent.close() }

// resolveParent finds the directory that a job's name is in.
func (r *restorer) resolveParent(j *job) (resolvedDir, error) {
	if r.parent.path != j.parent {
		r.parent.close()
		r.parent.path = j.parent
		r.parent.dir, r.parent.err = r.resolve(j.parent)
	}
	if r.parent.err != nil {
		return r.parent.dir, r.parent.err
	}
	rel := joinRel(r.parent.dir.rel, j.name)
	if j.rel != "" && j.rel != rel {
		return resolvedDir{}, errElsewhere
	}
	j.rel = rel
	return r.parent.dir, nil
}

// errElsewhere: the path was found in one directory of the upper, and leads to
// another: a bind of the overlay lies over it, or a directory was renamed.
var errElsewhere = fmt.Errorf("the path leads to another directory of the overlay: %w", unix.EXDEV)

// openParent opens that directory in the lower layers and, where it was
// reached, the upper.
func (r *restorer) openParent(j *job) (*openDir, error) {
	dir, err := r.resolveParent(j)
	if err != nil {
		return nil, err
	}
	if r.parent.open == nil {
		if r.parent.open, err = r.layers().openAt(dir.rel); err != nil {
			return nil, fmt.Errorf("look up %q in the layers: %w", dir.rel, err)
		}
	}
	return r.parent.open, nil
}

// lowerOf says what would show at a job's path if the upper had nothing there.
func (r *restorer) lowerOf(j *job) (lowerEntry, bool, error) {
	if _, err := r.Lowers(); err != nil {
		return lowerEntry{}, false, err
	}
	if _, err := r.Upper(); err != nil && !errors.Is(err, errNoUpper) {
		return lowerEntry{}, false, err // opaque marks and redirects are unknown
	}
	dir, err := r.openParent(j)
	if err != nil {
		return lowerEntry{}, false, err
	}
	return dir.lowerEntry(j.name)
}

// errUnknownState: neither the kernel nor the upper tells.
var errUnknownState = errors.New("the state of the upper is unknown")

// state says what the upper holds at a job's path: by the kernel, which needs
// no access to the upper, else by looking.
func (r *restorer) state(j *job) (ioctl.UpperState, error) {
	if r.opts.Method != MethodRemount && r.askKernel() != contractNone {
		path, release, err := systemPath(j)
		if err != nil {
			return ioctl.UpperState{}, err
		}
		defer release()
		st, err := r.kernel.UpperState(path)
		if !errors.Is(err, ioctl.ErrNoIoctl) {
			return st, err
		}
	}
	if _, err := r.resolveParent(j); err != nil {
		return ioctl.UpperState{}, err
	}
	if _, err := r.Upper(); err != nil {
		if errors.Is(err, errNoUpper) {
			return ioctl.UpperState{}, err
		}
		return ioctl.UpperState{}, fmt.Errorf("%w: %w", errUnknownState, err)
	}
	return r.stateInUpper(j)
}

func (r *restorer) stateInUpper(j *job) (ioctl.UpperState, error) {
	var st ioctl.UpperState
	// The lowers only matter for a flag; the state does not depend on them.
	_, lowersErr := r.Lowers()
	dir, err := r.openParent(j)
	if err != nil {
		return st, err
	}
	if lowersErr == nil && len(dir.Dir.lowers) == 0 {
		st.Flags |= ioctl.FlagNoLowerDir
	}
	e, found, err := dir.upperEntry(j.name)
	if err != nil || !found {
		return st, err
	}
	st.Mode = e.stat.Mode
	if e.whiteout {
		st.State = ioctl.StateWhiteout
		return st, nil
	}
	st.State = ioctl.StateUpper
	if e.isDir() {
		opaque, err := dir.layers.isOpaque(dir.upper, j.name)
		if err != nil {
			return st, err
		}
		if opaque {
			st.Flags |= ioctl.FlagOpaque
		}
	}
	return st, nil
}

// visible says whether the merged view has the name, and what it shows.
func (r *restorer) visible(j *job) (unix.Stat_t, bool) {
	fd, err := openPath(unix.AT_FDCWD, j.parent, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return unix.Stat_t{}, false
	}
	defer closeFD(fd)
	st, err := lstatAt(fd, j.name)
	return st, err == nil
}

// missingParent explains a path whose parent does not exist: which directory
// above it is deleted.
func (r *restorer) missingParent(j *job, err error) {
	if r.broughtBack(parentPath(j.Path)) {
		j.Action, j.verify = ActNone, !r.opts.DryRun
		if r.opts.DryRun {
			j.Status = StatusPlanned
		}
		return
	}
	if r.opts.SkipVisible && errors.Is(err, unix.EXDEV) {
		j.Status = StatusSkipped
		return
	}
	for path := parentPath(j.Path); path != ""; path = parentPath(path) {
		clean, parent, name, cleanErr := cleanPath(path)
		if cleanErr != nil {
			break
		}
		above := &job{Result: Result{Path: clean}, parent: parent, name: name}
		st, stErr := r.state(above)
		if errors.Is(stErr, unix.ENOENT) {
			continue // a directory further up is missing
		}
		if stErr == nil && st.State == ioctl.StateWhiteout {
			j.fail(&HiddenParentError{Parent: path})
			return
		}
		break
	}
	j.fail(err)
}

// opaqueParent explains a path that is nowhere, though perhaps only because a
// directory above it hides the lower layers.
func (r *restorer) opaqueParent(j *job, st ioctl.UpperState) {
	if st.Flags&ioctl.FlagNoLowerDir != 0 {
		for path := parentPath(j.Path); path != ""; path = parentPath(path) {
			clean, parent, name, err := cleanPath(path)
			if err != nil {
				break
			}
			above, err := r.state(&job{Result: Result{Path: clean}, parent: parent, name: name})
			if err != nil {
				break
			}
			if above.Flags&ioctl.FlagOpaque != 0 {
				j.fail(&HiddenParentError{Parent: path, Opaque: true})
				return
			}
		}
	}
	j.fail(&NothingError{State: st.State})
}

// parentPath is the directory part of a clean absolute path, "" for the root.
func parentPath(path string) string {
	cut := strings.LastIndexByte(path, '/')
	if cut <= 0 {
		return ""
	}
	return strings.TrimRight(path[:cut], "/")
}

// systemPath is a job's path for a system call that takes no descriptor. One
// beyond PATH_MAX is named through an open parent.
func systemPath(j *job) (path string, release func(), err error) {
	if len(j.Path) < pathMax {
		return j.Path, func() {}, nil
	}
	fd, err := openPath(unix.AT_FDCWD, j.parent, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", nil, err
	}
	return procPath(fd) + "/" + j.name, func() { closeFD(fd) }, nil
}
