// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// NothingError says that no whiteout hides the path: errors.Is EEXIST.
type NothingError struct {
	State   ioctl.State // upper: a real entry is there; none: there is no entry
	IsDir   bool        // the upper entry is a directory
	Visible bool        // the name exists in the merged view
}

func (e *NothingError) Error() string {
	switch {
	case e.State == ioctl.StateUpper && e.IsDir:
		return "nothing to restore: the upper has a real directory there, not a whiteout"
	case e.State == ioctl.StateUpper:
		return "nothing to restore: the upper has a real entry there, not a whiteout"
	case e.Visible:
		return "nothing to restore: nothing hides it, what you see is the lower's own"
	}
	return "nothing to restore: there is no whiteout, and no layer has that name"
}

// Unwrap returns EEXIST.
func (e *NothingError) Unwrap() error { return unix.EEXIST }

// NoLowerError says that nothing lies below: errors.Is ENODATA.
type NoLowerError struct {
	// WhiteoutGone: there was a whiteout over nothing, and it was removed.
	// Otherwise nothing was changed.
	WhiteoutGone bool
}

func (e *NoLowerError) Error() string {
	if e.WhiteoutGone {
		return "the whiteout is gone, but no lower layer has that name"
	}
	return "no lower layer has that name: nothing was dropped"
}

// Unwrap returns ENODATA.
func (e *NoLowerError) Unwrap() error { return unix.ENODATA }

// HiddenParentError says that the path cannot be restored by itself, since a
// directory above it hides the lower layers: errors.Is ENOENT.
type HiddenParentError struct {
	Parent string // the directory to restore instead, as the caller would name it
	Opaque bool   // it is opaque; otherwise it is deleted
}

func (e *HiddenParentError) Error() string {
	if e.Opaque {
		return fmt.Sprintf("its parent %q is opaque: the lower's directory is not merged there", e.Parent)
	}
	return fmt.Sprintf("its parent %q is deleted", e.Parent)
}

// Unwrap returns ENOENT.
func (e *HiddenParentError) Unwrap() error { return unix.ENOENT }

// ConflictError says why bringing the lower entry back would confuse the kernel
// about another one: errors.Is EOPNOTSUPP. Unless it is Final, forcing goes ahead.
type ConflictError struct {
	Reason string // what is in the way
	Other  string // the other entry, relative to the overlay's root, if there is one
	Final  bool   // forcing is refused, too: the entry would be unreadable
}

func (e *ConflictError) Error() string {
	if e.Other == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s: %q", e.Reason, e.Other)
}

// Unwrap returns EOPNOTSUPP.
func (e *ConflictError) Unwrap() error { return unix.EOPNOTSUPP }

// BusyError says that the upper is as it should be, but that the kernel goes on
// serving the old entry because somebody holds it open: errors.Is EBUSY.
type BusyError struct {
	Holders []Holder // who, as far as /proc tells
}

func (e *BusyError) Error() string {
	if len(e.Holders) == 0 {
		return "the old entry is still served: somebody holds it open, or the kernel takes it for another name's"
	}
	names := make([]string, len(e.Holders))
	for i, h := range e.Holders {
		names[i] = h.String()
	}
	return "the old entry is still served, it is held open by " + strings.Join(names, ", ")
}

// Unwrap returns EBUSY.
func (e *BusyError) Unwrap() error { return unix.EBUSY }

// UnreachedError says that a layer was not found, or not proven to be this
// overlay's: errors.Is ENOLINK.
type UnreachedError struct {
	Layer string // upper, or lower
	Path  string // as the mount options name it
	Tried []Attempt
}

// Attempt is one way to reach a layer, and why it did not do.
type Attempt struct {
	How string
	Err error
}

func (e *UnreachedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the %s layer %q was not found", e.Layer, e.Path)
	for i, a := range e.Tried {
		sep := "; "
		if i == 0 {
			sep = "; tried "
		}
		fmt.Fprintf(&b, "%s%s: %v", sep, a.How, a.Err)
	}
	return b.String()
}

// Unwrap returns ENOLINK.
func (e *UnreachedError) Unwrap() error { return unix.ENOLINK }

// FlushError says that the upper was changed, but the mount could not be told:
// the change shows after the next mount. errors.Is finds the errno.
type FlushError struct{ Err error }

func (e *FlushError) Error() string { return fmt.Sprintf("flush the overlay's caches: %v", e.Err) }

// Unwrap returns the cause.
func (e *FlushError) Unwrap() error { return e.Err }

// errNoUpper: there is nothing in the upper, for there is none.
var errNoUpper = fmt.Errorf("the overlay has no upper layer: %w", unix.EROFS)
