// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// plan decides what to do about one path. With a current kernel's ioctl, and
// nothing else asked for, it is done at once: one system call.
func (r *restorer) plan(j *job) {
	contract := contractNone
	if r.opts.Method != MethodRemount {
		contract = r.askKernel()
	}
	switch {
	case contract == contractCurrent && !j.throughUpper:
		r.planCurrent(j)
	case contract == contractFirst && !j.throughUpper:
		r.planFirst(j)
	case r.opts.Method == MethodIoctl:
		j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER", Path: j.Path, Errno: unix.ENOTTY})
	default:
		r.planRemount(j)
	}
}

func (r *restorer) planCurrent(j *job) {
	path, release, err := systemPath(j)
	if err != nil {
		r.missingParent(j, err)
		return
	}
	defer release()
	later := r.opts.DryRun || r.opts.KeepWhiteouts
	if later {
		err = r.kernel.IsRestorable(path)
	} else {
		err = r.kernel.RestoreLower(path, 0)
	}
	switch {
	case err == nil && later:
		r.intend(j, ActRestore, MethodIoctl)
	case err == nil:
		r.done(j, ActRestore, MethodIoctl)
	case errors.Is(err, ioctl.ErrNothing):
		r.nothing(j)
	case errors.Is(err, ioctl.ErrNoLower):
		j.Action, j.Method = ActRestore, MethodIoctl
		if later && !r.opts.DryRun { // over nothing, but a whiteout
			r.intend(j, ActRestore, MethodIoctl)
			return
		}
		j.fail(&NoLowerError{WhiteoutGone: !r.opts.DryRun})
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		r.missingParent(j, err)
	case errors.Is(err, ioctl.ErrRefused):
		r.refused(j, err)
	case errors.Is(err, ioctl.ErrOtherFS) && r.opts.SkipVisible:
		j.Status = StatusSkipped
	default:
		j.fail(err)
	}
}

// refused: the kernel will not, by rule. Force takes the other way.
func (r *restorer) refused(j *job, err error) {
	if r.opts.Force && r.opts.Method == MethodAuto {
		r.planRemount(j)
		return
	}
	j.fail(&ConflictError{Reason: "the kernel refuses: " + err.Error()})
}

// planFirst is for kernels of the first contract, whose errnos are ambiguous:
// the state is read first, where it can be.
func (r *restorer) planFirst(j *job) {
	st, err := r.state(j)
	switch {
	case err == nil && st.State != ioctl.StateWhiteout:
		r.nothing(j)
	case err != nil && !errors.Is(err, errUnknownState):
		r.missingParent(j, err)
	default:
		r.intend(j, ActRestore, MethodIoctl)
	}
}

// planRemount decides by what the upper holds.
func (r *restorer) planRemount(j *job) {
	st, err := r.state(j)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EXDEV):
		r.missingParent(j, err)
	case err != nil:
		j.fail(err)
	case st.State != ioctl.StateWhiteout:
		r.nothing(j)
	default:
		r.planWhiteout(j)
	}
}

func (r *restorer) planWhiteout(j *job) {
	if j.low == nil {
		low, found, err := r.lowerOf(j)
		j.orphan = err == nil && !found && r.sureOfLowers()
		if err == nil && found {
			j.low = low.ref()
		}
	}
	if j.orphan && r.opts.DryRun {
		j.Action, j.Method = ActRestore, MethodRemount
		j.fail(&NoLowerError{})
		return
	}
	r.intend(j, ActRestore, MethodRemount)
}

// nothing handles a path with no whiteout: a real upper entry to discard, a
// stale cache, or nothing to do at all.
func (r *restorer) nothing(j *job) {
	st, err := r.state(j)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			r.missingParent(j, err)
			return
		}
		j.fail(err)
		return
	}
	switch st.State {
	case ioctl.StateUpper:
		r.planDiscard(j, st)
	case ioctl.StateWhiteout: // came since, or an early kernel did not see it
		r.planWhiteout(j)
	default:
		r.planUnhidden(j, st)
	}
}

// planDiscard is for a real upper entry at a path that was named.
func (r *restorer) planDiscard(j *job, st ioctl.UpperState) {
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !r.opts.Discard || isDir {
		if r.opts.SkipVisible {
			j.Status = StatusSkipped
			return
		}
		j.fail(&NothingError{State: st.State, IsDir: isDir})
		return
	}
	low, found, err := r.lowerOf(j)
	if err == nil && !found {
		j.Action = ActDiscard
		j.fail(&NoLowerError{})
		return
	}
	if err == nil {
		j.low = low.ref()
	}
	if r.opts.Method != MethodRemount && r.askKernel() == contractCurrent {
		r.intend(j, ActDiscard, MethodIoctl)
		return
	}
	if err != nil { // without the kernel's own check, the lower must be known
		j.fail(err)
		return
	}
	if r.opts.Method == MethodIoctl {
		j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER with OVL_RESTORE_DISCARD_UPPER", Path: j.Path, Errno: unix.EINVAL})
		return
	}
	r.intend(j, ActDiscard, MethodRemount)
}

// planUnhidden is for a path that the upper does not have.
func (r *restorer) planUnhidden(j *job, st ioctl.UpperState) {
	if r.broughtBack(j.Path) || r.broughtBackAs(j) {
		j.Action, j.verify = ActNone, !r.opts.DryRun
		if r.opts.DryRun {
			j.Status = StatusPlanned
		}
		return
	}
	got, visible := r.visible(j)
	low, found, err := r.lowerOf(j)
	stale := err == nil && found && (!visible || got.Nlink == 0 || !equalAttributes(&low.stat, &got))
	switch {
	case stale && r.opts.Method != MethodIoctl:
		// Somebody changed the upper by hand, or held the old entry open until
		// now: the kernel has not noticed.
		r.intend(j, ActRefresh, MethodRemount)
		r.dirty = r.dirty || !r.opts.DryRun
		j.verify = !r.opts.DryRun
	case visible && r.opts.SkipVisible:
		j.Status = StatusSkipped
	case visible:
		j.fail(&NothingError{State: st.State, Visible: true})
	default:
		r.opaqueParent(j, st)
	}
}

// broughtBack says whether this call restores path or a directory above it.
func (r *restorer) broughtBack(path string) bool {
	for at := path; at != ""; at = parentPath(at) {
		if r.restored[at] {
			return true
		}
	}
	for _, top := range r.trees {
		if _, ok := below(top.Path, path); ok {
			return true
		}
	}
	return false
}

// broughtBackAs says whether this call restores the same entry by another
// spelling of its path.
func (r *restorer) broughtBackAs(j *job) bool {
	if _, err := r.resolveParent(j); err != nil {
		return false
	}
	for _, other := range r.byName[j.name] {
		if other.rel == "" {
			if _, err := r.resolveParent(other); err != nil {
				continue
			}
		}
		if other.rel == j.rel {
			return true
		}
	}
	return false
}
