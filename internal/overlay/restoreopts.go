// SPDX-License-Identifier: Apache-2.0

package overlay

import "sync/atomic"

// Method is how lower entries are brought back.
type Method string

// The methods. MethodAuto takes the ioctl where the kernel has it.
const (
	MethodAuto    Method = "auto"
	MethodIoctl   Method = "ioctl"
	MethodRemount Method = "remount" // change the upper, then flush the overlay's caches
)

// Action is what is done about a path.
type Action string

// The actions of Restore.
const (
	ActRestore Action = "restore" // remove the whiteout
	ActDiscard Action = "discard" // drop the upper entry, the lower one shows again
	ActRemove  Action = "remove"  // drop an upper entry that nothing lies under
	ActMerge   Action = "merge"   // make an opaque directory merge with the lower one
	ActRefresh Action = "refresh" // the upper is as it should be, only caches are stale
	ActNone    Action = "none"    // nothing: another path of the same call brings it back
	ActKeep    Action = "keep"    // left alone, Discard was not asked for
)

// Status is how it ended.
type Status string

// The outcomes of a path.
const (
	StatusDone    Status = "done"    // verified in the merged view
	StatusPlanned Status = "planned" // a dry run would do it
	StatusKept    Status = "kept"
	StatusSkipped Status = "skipped" // not hidden, and SkipVisible was asked for
	StatusBusy    Status = "busy"    // the upper is right, but somebody holds the old entry open
	StatusFailed  Status = "failed"
)

// Result is what became of one path.
type Result struct {
	Path    string // absolute, as the caller named it, without trailing slashes
	Action  Action // "" where it did not come so far
	Method  Method // "" likewise
	Status  Status
	Backup  string // where the dropped upper entry is
	Holders []Holder
	Err     error // set for StatusFailed and StatusBusy
}

// Keeper takes upper entries into safe keeping before they are dropped. What it
// returns is durable on disk, and says where the entry is.
type Keeper interface {
	// Link keeps a hard link of dirfd/name; the entry itself stays.
	Link(dirfd int, name, rel string) (where string, err error)
	// Move takes dirfd/name away, whatever it is. An error with where set says
	// that it is there, but perhaps not durable.
	Move(dirfd int, name, rel string) (where string, err error)
	// Note records something else that is about to be dropped.
	Note(what, rel string) error
}

// RestoreOptions say how far Restore goes.
type RestoreOptions struct {
	Method    Method
	Recursive bool // restore every deviation below a directory
	Discard   bool // also drop real upper entries; needs Keeper
	// Spare, if not nil, says of an entry of the upper, by its path in there, that it
	// is kept although Discard is set; of a directory, that something in it may be.
	Spare  func(rel string) bool
	DryRun bool // change nothing, say what would be done
	Force  bool // go ahead in spite of a ConflictError
	// KeepWhiteouts tells the keeper of each whiteout before it goes, so that it
	// can be put back; then no whiteout is removed without reaching the upper.
	KeepWhiteouts bool
	// SkipVisible: a path that nothing hides, or that lies elsewhere, is no
	// failure. For lists that name more than was deleted.
	SkipVisible bool
	// Keeper is asked for when the first entry is about to be dropped, with the
	// proven upper.
	Keeper func(upper *Layer) (Keeper, error)
	// Progress, if not nil, is told after each path how much of the work is done.
	// With Recursive nobody knows how much there is: see Looked.
	Progress func(done, total int)
	// Looked, if not nil, counts the upper entries that were looked at with
	// Recursive, while the tree is read.
	Looked *atomic.Int64
}
