// SPDX-License-Identifier: Apache-2.0

package reconcile

// Entry is one entry of the upper in its three versions.
type Entry struct {
	Base, Upper, New Version
	// Covered: a directory above it hides the image, so that nothing of the new
	// image would show if the upper had nothing there.
	Covered bool
	// Orphaned: the new image has no directory for it to be in. A whiteout there
	// hides nothing, and directories list it.
	Orphaned bool
	// Queued: an update tool asked for the image's entry.
	Queued bool
}

// Action is what becomes of an entry.
type Action string

// The actions.
const (
	Keep     Action = "keep"
	Drop     Action = "drop"      // the upper's entry goes, what the image has shows
	Merge    Action = "merge"     // an opaque directory shows the image's entries, too
	Adopt    Action = "adopt"     // a directory takes the new image's mode, owner and attributes
	KeepBoth Action = "keep-both" // the image's entry is written beside, as NAME.ovl-new
	Undo     Action = "undo"      // what was done for a later image is undone
)

// Reason is why. Its words do not change.
type Reason string

// The reasons.
const (
	Deleted           Reason = "deleted"             // the user deleted it, and the image has not changed it
	DeletedButUpdated Reason = "deleted-but-updated" // the user deleted it, and the image has another one
	Orphan            Reason = "orphan"              // a whiteout over nothing
	NewlyShipped      Reason = "newly-shipped"       // it masks what the image did not have before
	Queued            Reason = "queued"              // an update tool asked for it
	Stale             Reason = "stale"               // a copy that the user never changed
	Removed           Reason = "removed"             // such a copy, and the image does not have it any more
	Edited            Reason = "edited"              // the user's change of what the image has not changed
	Redundant         Reason = "redundant"           // the same as the image's
	Conflict          Reason = "conflict"            // the user and the image changed it
	Obsolete          Reason = "obsolete"            // the user changed it, and the image does not have it any more
	Own               Reason = "own"                 // the user's, the image never had it
	NoBaseline        Reason = "no-baseline"         // it differs, and what it was made from is not known
	Covered           Reason = "covered"             // a directory above it is the user's
	Rollback          Reason = "rollback"            // the image is an earlier one
)

// Loud says whether people want to hear of an entry that is kept for a reason.
func (r Reason) Loud() bool {
	switch r {
	case DeletedButUpdated, Orphan, Conflict, Obsolete, NoBaseline:
		return true
	default:
		return false
	}
}

// Options change the defaults.
type Options struct {
	PruneOrphans   bool // drop whiteouts over nothing
	RestoreUpdated bool // restore what the user deleted where the image has another one
}

// Decision is what becomes of an entry, and why.
type Decision struct {
	Action Action
	Reason Reason
}

// Decide says what becomes of an entry of the upper. choice is what the policy
// says of conflicts there.
func Decide(e Entry, choice Choice, opts Options) Decision {
	u, b, n := e.Upper, e.Base, e.New
	switch {
	case e.Orphaned && u.Type == Whiteout:
		return Decision{Drop, Orphan}
	case e.Covered:
		return Decision{Keep, Covered}
	case u.Type == Whiteout:
		return decideWhiteout(e, choice, opts)
	case u.Type == Opaque:
		return decideOpaque(e, choice)
	case u.Equal(n) && u.Type == Directory:
		return Decision{Keep, Edited} // what is in it decides for itself
	case u.Equal(n):
		return Decision{Drop, Redundant}
	case !b.Known && !n.Exists():
		return Decision{Keep, Own}
	case !b.Known:
		return Decision{Keep, NoBaseline}
	case !b.Exists() && !n.Exists():
		return Decision{Keep, Own}
	case u.Equal(b) && n.Exists():
		return Decision{replace(u, n), Stale}
	case u.Equal(b):
		return Decision{Drop, Removed}
	case n.Equal(b):
		return Decision{Keep, Edited}
	case !n.Exists():
		return Decision{Keep, Obsolete}
	case u.Follows && n.Type == File: // the content is the image's, the rest the user's
		return Decision{Keep, Edited}
	}
	return decideConflict(e, choice)
}

// replace puts the new image's entry in place of the upper's.
func replace(u, n Version) Action {
	if u.Type == Directory && n.Type == Directory {
		return Adopt
	}
	return Drop
}

func decideWhiteout(e Entry, choice Choice, opts Options) Decision {
	b, n := e.Base, e.New
	switch {
	case !n.Exists() && opts.PruneOrphans:
		return Decision{Drop, Orphan}
	case !n.Exists():
		return Decision{Keep, Orphan}
	case e.Queued:
		return Decision{Drop, Queued}
	case !b.Known:
		return Decision{Keep, NoBaseline}
	case !b.Exists():
		return Decision{Drop, NewlyShipped}
	case b.Equal(n):
		return Decision{Keep, Deleted}
	case choice == ChooseRestore || opts.RestoreUpdated && choice != ChooseKeep:
		return Decision{Drop, DeletedButUpdated}
	}
	return Decision{Keep, DeletedButUpdated}
}

// decideOpaque is for a directory that hides the image's: the user deleted that
// one and made another. Overlays with redirects, an index or metacopies mark
// every new directory so, also where there was nothing to hide.
func decideOpaque(e Entry, choice Choice) Decision {
	b, n := e.Base, e.New
	switch {
	case !n.Exists():
		return Decision{Keep, Own}
	case !b.Known:
		return Decision{Keep, NoBaseline}
	case n.Type != Directory && n.Equal(b):
		return Decision{Keep, Edited}
	case n.Type != Directory:
		return decideConflict(e, choice)
	case !b.Exists():
		return Decision{Merge, NewlyShipped}
	case choice == ChooseRestore:
		return Decision{Merge, Conflict}
	}
	return Decision{Keep, Edited}
}

func decideConflict(e Entry, choice Choice) Decision {
	switch {
	case choice == ChooseImage, choice == ChooseRestore:
		return Decision{replace(e.Upper, e.New), Conflict}
	case choice == ChooseBoth && (e.New.Type == File || e.New.Type == Symlink):
		return Decision{KeepBoth, Conflict}
	}
	return Decision{Keep, Conflict}
}
