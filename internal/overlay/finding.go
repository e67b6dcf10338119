// SPDX-License-Identifier: Apache-2.0

package overlay

import "fmt"

// Code names a kind of finding. It never changes its meaning, so that programs
// can decide by it.
type Code string

// The findings of Check.
const (
	OrphanWhiteout        Code = "orphan-whiteout"
	ExposedWhiteout       Code = "exposed-whiteout"
	RedirectOriginMissing Code = "redirect-origin-missing"
	RedirectOriginDoubled Code = "redirect-origin-doubled"
	RedirectNotFollowed   Code = "redirect-not-followed"
	MetacopyOriginMissing Code = "metacopy-origin-missing"
	MetacopyOriginDoubled Code = "metacopy-origin-doubled"
	MetacopyNotFollowed   Code = "metacopy-not-followed"
	FileOverDirectory     Code = "file-over-directory"
	DirectoryOverFile     Code = "directory-over-file"
	WrongNamespace        Code = "wrong-namespace"
	ImpureMissing         Code = "impure-missing"
	NewerKernel           Code = "newer-kernel"
	LowerChanged          Code = "lower-changed"
	WorkLeftover          Code = "work-leftover"
	WorkElsewhere         Code = "work-elsewhere"
	WorkInUpper           Code = "work-in-upper"
	VolatileLeft          Code = "volatile-left"
	WorkNotFound          Code = "work-not-found"
)

// Severity says whether a finding has to be dealt with.
type Severity string

// Severities. A notice tells of something that a user may well have meant, or
// that does no harm as the overlay is mounted; it is no fault of the overlay.
const (
	Problem Severity = "problem"
	Notice  Severity = "notice"
)

// Place is where a finding is.
type Place string

// Places.
const (
	InUpper Place = "upper" // Finding.Path is from the overlay's root
	InWork  Place = "work"  // Finding.Path is from the work directory
)

// Finding is one thing that is wrong with an overlay, or that may be.
type Finding struct {
	Code     Code
	Severity Severity
	In       Place
	Path     string
	What     string // what is there
	Effect   string // what it does to the user

	// Repaired, Backup and Err are what became of it where a repair was asked
	// for. Err is nil for a finding that is not for a program to repair.
	Repaired bool
	Backup   string // where the dropped entry is now
	Err      error
}

// Repairable says whether a repair is safe: nothing that the merged view shows
// is lost by it. Which whiteouts can be repaired on a mounted overlay is for
// Overlay.Repair to say.
func (c Code) Repairable() bool {
	switch c {
	case OrphanWhiteout, ExposedWhiteout, ImpureMissing, WorkLeftover:
		return true
	default:
		return false
	}
}

// effect is what a finding does to the user.
func effect(c Code) string {
	switch c {
	case OrphanWhiteout:
		return "nothing today; a later image's file of that name stays hidden"
	case ExposedWhiteout:
		return "the directory lists a name that cannot be opened"
	case RedirectOriginMissing:
		return "what the image had in the renamed directory is gone from it"
	case RedirectOriginDoubled:
		return "the same files of the image show under two names; a change under one may show under the other"
	case RedirectNotFollowed:
		return "the directory cannot be entered: the kernel answers EPERM"
	case MetacopyOriginMissing:
		return "the file cannot be opened: the kernel answers EIO; its content is not in the upper"
	case MetacopyOriginDoubled:
		return "two files share the content of one file of the image"
	case MetacopyNotFollowed:
		return "the file cannot be opened: the kernel answers EPERM; its content is not in the upper"
	case FileOverDirectory:
		return "the image's directory is hidden, with all that is in it"
	case DirectoryOverFile:
		return "the image's file is hidden"
	case ImpureMissing:
		return "the directory lists other inode numbers than its files have: find -inum and some backup programs err"
	case NewerKernel:
		return "a deleted file shows as an empty one"
	case WorkLeftover:
		return "it takes room, until the overlay is mounted again"
	case WorkElsewhere:
		return "the overlay cannot be mounted: the kernel answers EINVAL"
	case WorkInUpper:
		return "the overlay cannot be mounted: the kernel answers EINVAL"
	case VolatileLeft:
		return "the overlay cannot be mounted: the kernel answers EINVAL; after a crash, files written last may be damaged"
	case WorkNotFound:
		return "whether an interrupted copy-up left something there is not known"
	case LowerChanged, WrongNamespace: // say it themselves
	}
	return ""
}

// newFinding makes a problem in the upper.
func newFinding(code Code, path, what string, args ...any) Finding {
	return Finding{
		Code: code, Severity: Problem, In: InUpper, Path: path,
		What: fmt.Sprintf(what, args...), Effect: effect(code),
	}
}
