// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/ovl-restore/ovl-restore/internal/overlay"

// hintFinding says what to do about a finding, as hint does about errors.
func hintFinding(f overlay.Finding, mounted bool) string {
	const offline = "unmount the overlay, then: ovl-restore check --repair --lower … --upper … --work …"
	switch f.Code {
	case overlay.OrphanWhiteout, overlay.ExposedWhiteout:
		return "--repair removes it"
	case overlay.ImpureMissing, overlay.WorkLeftover:
		if mounted {
			return offline
		}
		return "--repair does it"
	case overlay.RedirectOriginMissing:
		return "copy what you need from it, then remove it; or go back to the image that had it"
	case overlay.RedirectOriginDoubled, overlay.MetacopyOriginDoubled:
		return "copy the renamed one, cp -a X X.new, and remove it"
	case overlay.RedirectNotFollowed:
		return "mount the overlay with redirect_dir=on, or redirect_dir=follow"
	case overlay.MetacopyNotFollowed:
		return "mount the overlay with metacopy=on"
	case overlay.MetacopyOriginMissing:
		return "go back to the image that had the content; or remove the file"
	case overlay.FileOverDirectory:
		return "if you want the image's: ovl-restore --discard MNT PATH; a backup is kept"
	case overlay.DirectoryOverFile:
		return "if you want the image's: ovl-restore --recursive --discard MNT PATH; a backup is kept"
	case overlay.WrongNamespace:
		return "mount the overlay with userxattr where the mark is in user.*, without where it is in trusted.*"
	case overlay.NewerKernel:
		return "run Linux 6.7 or later, or remove the empty file"
	case overlay.LowerChanged:
		if f.Severity == overlay.Notice {
			return "nothing, after an update of the image"
		}
		return "mount the lower that the upper was made on, or begin with a new upper"
	case overlay.WorkElsewhere:
		return "name a work directory beside the upper"
	case overlay.WorkInUpper:
		return "name a work directory beside the upper, not in it"
	case overlay.VolatileLeft:
		return "after a clean unmount, remove that directory; after a crash, begin with a new upper"
	case overlay.WorkNotFound:
		return offline
	}
	return ""
}
