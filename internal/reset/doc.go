// SPDX-License-Identifier: Apache-2.0

// Package reset returns overlays to the state of their image: it renames each
// upper aside, before the overlay is mounted, and puts an empty one in its place,
// with what is on the keep list in it.
//
// # What is on disk
//
// Each overlay has a directory beside its upper, on the same file system and
// outside the merged view, so that no user of the overlay reaches it:
//
//	UPPER.ovl-reset/member-ID   this overlay takes part in the reset ID
//	UPPER.ovl-reset/request     what is asked for (in one of the overlays')
//	UPPER.ovl-reset/decided     the same file, renamed: the reset goes on until it is done
//	UPPER.ovl-reset/last        the same file, renamed again: the reset that was done last
//	UPPER.ovl-reset/new/upper   what takes the upper's place
//	UPPER.ovl-reset/new/work    what takes the work directory's place
//	UPPER.ovl-reset/old/N       what was replaced, until clean-up has removed it
//	UPPER.ovl-reset/old/N.wipe  the same, to be overwritten first
//	UPPER.ovl-reset/store-ID    a store that is elsewhere is of the time before ID; see internal/journal
//	UPPER.ovl-reset/trim        clean-up has not told the disk yet what is free
//	UPPER.ovl-reset/cmdline     the kernel command line asked for the last reset
//
// The directory and its files belong to root, and nobody else may write to them.
// Whatever is not so, is a symbolic link, is cut short or does not have the
// checksum that it says, is no request: it is reported and left alone.
//
// # The states
//
//	            Request                 Perform: staged              Perform: swapped
//	nothing ──────────────▶ requested ──────────────────▶ decided ──────────────────▶ cleaning ──▶ nothing
//	   ▲                        │                        (rename of                    Cleanup
//	   └────────────────────────┘                     request to decided)
//	            Cancel
//
// Request writes the members first, and request last. A member without a request
// that names it means nothing.
//
// Perform, in the state requested, builds new/ for every overlay: directories
// with the attributes of those that they replace, and in new/upper hard links to
// what is kept. The old upper is not touched. A power cut, or an error, leaves
// the request standing; what was staged is set aside and staged anew.
//
// The rename of request to decided is the one decision, however many overlays
// there are. From here on Perform only goes forward, and only renames, which
// needs no room on the disk: for each overlay upper, work and store go to old/
// (a store on another file system may be out of reach: that it is gone is noted),
// and new/upper and new/work take their places. That new/upper is still there
// tells that the upper was not replaced yet, so that each step can be repeated:
// whatever has the upper's name then goes to old/, too. A power cut leaves
// decided standing, and the next Perform goes on.
//
// The rename of decided to last says that all is done. Perform takes as long for
// a million entries as for ten: it reads only what the keep list leads to.
//
// Cleanup removes old/, a directory at a time: one that is not empty is first
// renamed up into old/, so that neither depth nor number needs memory, and a
// clean-up that is cut off goes on where it was. At the end it discards what is
// free (FITRIM).
//
// # The kernel command line
//
// ovl-restore.reset=1 or systemd.factory_reset=1 is a request, too. It counts
// once: Perform notes in cmdline that a reset was done for it, and removes the
// note at the first boot without it. A command line that carries it for ever
// resets once, whatever the boot's ID.
package reset
