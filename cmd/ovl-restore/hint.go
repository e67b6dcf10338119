// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/pkglist"
	"github.com/ovl-restore/ovl-restore/internal/reconcile"
	"github.com/ovl-restore/ovl-restore/internal/reset"
)

// explanation is an error as people read it.
type explanation struct {
	errno  string // by name: EEXIST; "" where there is none
	reason string // what happened, short
	detail string // what was tried, which may be long
	hint   string // what to do about it
}

func explain(err error) explanation {
	e := explanation{errno: errnoName(err), reason: err.Error(), hint: hint(err)}
	var (
		unreached *overlay.UnreachedError
		call      *ioctl.Error
	)
	switch {
	case errors.As(err, &unreached):
		if reason, tried, found := strings.Cut(e.reason, "; tried "); found {
			e.reason, e.detail = reason, "tried "+tried
		}
	case errors.As(err, &call) && e.reason == call.Error():
		e.reason = callReason(call)
	default:
		e.reason = withoutErrno(err)
	}
	return e
}

// callReason tells of an ioctl that failed, without errno and path, which are
// named anyway. What any other way would say, it says in the same words.
func callReason(call *ioctl.Error) string {
	switch call.Errno {
	case ioctl.ErrOtherFS:
		return "the path is not on this overlay"
	case unix.ENOENT, unix.ENOTDIR:
		return call.Errno.Error()
	default:
		return call.Op + ": " + call.Errno.Error()
	}
}

// withoutErrno is an error's text without the words of errnos that mean
// something else to people ("invalid cross-device link"). Errors that have one of
// these give a reason of their own before it.
func withoutErrno(err error) string {
	for _, errno := range []unix.Errno{unix.EXDEV, unix.ESTALE, unix.EINTR, unix.EINVAL} {
		if errors.Is(err, errno) {
			return strings.TrimSuffix(err.Error(), ": "+errno.Error())
		}
	}
	return err.Error()
}

// errnoName names the errno of an error. Some errors of our own have none, and
// get the one that a system call would give.
func errnoName(err error) string {
	var errno unix.Errno
	switch {
	case errors.Is(err, journal.ErrLocked), errors.Is(err, reset.ErrLocked), errors.Is(err, reset.ErrCleaning):
		errno = unix.EBUSY
	case errors.Is(err, pkglist.ErrUnknown):
		errno = unix.ENOENT
	case !errors.As(err, &errno):
		return ""
	}
	return ioctl.ErrnoName(errno)
}

// hint says what to do about an error; this is the one place that does.
func hint(err error) string {
	var (
		nothing    *overlay.NothingError
		parent     *overlay.HiddenParentError
		busy       *overlay.BusyError
		conflict   *overlay.ConflictError
		unreached  *overlay.UnreachedError
		notOverlay *overlay.NotOverlayError
		noMount    *noMountError
		misplaced  *misplacedError
		flush      *overlay.FlushError
		several    *severalError
	)
	switch {
	case errors.As(err, new(*usageError)):
		return "see ovl-restore --help"
	case errors.Is(err, errMountPoint):
		return "--recursive restores what was deleted below it"
	case errors.As(err, &misplaced):
		return "did you mean " + quotePath(misplaced.instead) + "?"
	case errors.As(err, &nothing):
		return hintNothing(nothing)
	case errors.As(err, &parent) && parent.Opaque:
		return "restore that first: ovl-restore --recursive MNT " + quotePath(parent.Parent)
	case errors.As(err, &parent):
		return "restore that first: ovl-restore MNT " + quotePath(parent.Parent)
	case errors.As(err, &busy):
		return "the upper is already right: close it there, or reboot"
	case errors.As(err, &conflict) && conflict.Other != "":
		return "make the other one a file of its own first, cp -a X X.new && mv X.new X; or --force"
	case errors.As(err, &conflict) && conflict.Final:
		return "use a kernel with the ioctl, or mount it without that option"
	case errors.As(err, &conflict):
		return "--force goes ahead"
	case errors.As(err, &unreached) && unreached.Layer == "upper":
		return "name the directory with --upper DIR, as root; mount its file system somewhere if it is not mounted"
	case errors.As(err, &notOverlay):
		return hintOverlays(notOverlay.Overlays)
	case errors.As(err, &noMount):
		return hintOverlays(noMount.overlays)
	case errors.As(err, &flush):
		return "run it as root of the name space that mounted the overlay; what was changed already shows after a reboot"
	case errors.As(err, new(*overlay.MountedError)):
		return "unmount it first, or name MNT: ovl-restore check --repair MNT"
	case errors.As(err, new(*reconcile.UnreconciledError)):
		return "run ovl-restore reconcile first"
	case errors.As(err, new(*reconcile.UnknownImageError)):
		return "name a command that prints it: [image] command in /etc/ovl-restore/ovl-restore.toml"
	case errors.Is(err, journal.ErrLocked):
		return "try again, or use --wait"
	case errors.Is(err, errNoResetOverlay), errors.Is(err, errResetRoot),
		errors.As(err, new(*reset.IncompleteError)), errors.As(err, new(*reset.MountPointError)),
		errors.As(err, new(*reset.ForeignError)), errors.As(err, new(*reset.DecidedError)), errors.As(err, new(*reset.StoreError)):
		return hintReset(err)
	case errors.As(err, new(*journal.ChangedError)):
		return "take what you need from its backup, see ovl-restore log TX; or move it away and undo again"
	case errors.As(err, &several):
		return "name the mount point: ovl-restore undo [TX] " + quotePath(several.points[0])
	case errors.Is(err, journal.ErrOpen):
		return "it is being worked on: try again, or use --wait"
	case errors.Is(err, pkglist.ErrUnknown):
		return "check the spelling; the image must have had the package installed"
	}
	return hintErrno(err)
}

func hintReset(err error) string {
	switch {
	case errors.Is(err, errNoResetOverlay):
		return "write it as [[overlay]] into ovl-restore.toml, or give --upper, --work and --lower"
	case errors.Is(err, errResetRoot):
		return "ovl-restore reset request --reboot"
	case errors.As(err, new(*reset.IncompleteError)):
		return "write all of them as [[overlay]] into ovl-restore.toml, and mount their file systems before"
	case errors.As(err, new(*reset.MountPointError)):
		return "give the upper and the work directory a directory of their own in that file system"
	case errors.As(err, new(*reset.ForeignError)):
		return "see who made it, and remove it"
	case errors.As(err, new(*reset.StoreError)):
		return "mount what it is on, or, where it is gone for good, remove that file"
	}
	return "reboot"
}

func hintNothing(e *overlay.NothingError) string {
	switch {
	case e.State == ioctl.StateUpper && e.IsDir:
		return "--recursive restores what was deleted in it"
	case e.State == ioctl.StateUpper:
		return "--discard drops it, and keeps a backup"
	case e.Visible:
		return ""
	}
	return "check the spelling"
}

func hintOverlays(mounts []overlay.Mount) string {
	if len(mounts) == 0 {
		return "there is no overlay in this mount name space"
	}
	const most = 8
	points := make([]string, 0, most)
	for _, m := range mounts {
		if len(points) == most {
			points = append(points, fmt.Sprintf("and %d more", len(mounts)-most))
			break
		}
		points = append(points, quotePath(m.Point))
	}
	return "the overlays here are: " + strings.Join(points, ", ")
}

func hintErrno(err error) string {
	switch {
	case errors.Is(err, ioctl.ErrNoIoctl):
		return "this kernel lacks the ioctl: use --method auto, or a kernel with the patch"
	case errors.Is(err, ioctl.ErrReadOnly):
		return "mount it read-write first"
	case errors.Is(err, ioctl.ErrOtherFS):
		return "name a path below MNT, and the overlay that holds it"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "nothing was dropped: make room in the upper's file system"
	case errors.Is(err, ioctl.ErrStale):
		return "somebody is changing it: try again"
	case errors.Is(err, ioctl.ErrIsDirectory):
		return "the ioctl does not drop directories: use --method auto"
	case errors.Is(err, os.ErrPermission):
		return "run it as root"
	case errors.Is(err, ioctl.ErrInvalid):
		return "name the entry itself; a list whose names end with NUL needs -0"
	case errors.Is(err, unix.EINTR):
		return "run it again for the rest"
	}
	return ""
}
