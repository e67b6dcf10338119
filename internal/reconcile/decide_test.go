// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"strings"
	"testing"
)

// text is a file with that content.
func text(content string) Version {
	return Version{Known: true, Type: File, Mode: 0o644, Size: int64(len(content)), Digest: content}
}

func with(v Version, change func(*Version)) Version {
	change(&v)
	return v
}

var (
	unknown  = Version{}
	whiteout = Version{Known: true, Type: Whiteout}
	opaque   = Version{Known: true, Type: Opaque, Mode: 0o755}
	dir      = Version{Known: true, Type: Directory, Mode: 0o755}
	old      = text("v1")
	newer    = text("v2")
	mine     = text("me")
)

// The table of the design, row by row.
func TestDecideTable(t *testing.T) {
	for _, test := range []struct {
		name    string
		u, b, n Version
		choice  Choice
		opts    Options
		queued  bool
		want    Decision
	}{
		{name: "whiteout over nothing", u: whiteout, b: old, n: Nothing, want: Decision{Keep, Orphan}},
		{name: "the same, the image never had it", u: whiteout, b: Nothing, n: Nothing, want: Decision{Keep, Orphan}},
		{name: "the same, no record", u: whiteout, b: unknown, n: Nothing, want: Decision{Keep, Orphan}},
		{name: "whiteout over nothing, to be pruned", u: whiteout, b: old, n: Nothing, opts: Options{PruneOrphans: true}, want: Decision{Drop, Orphan}},
		{name: "queued, and gone from the image", u: whiteout, b: old, n: Nothing, queued: true, want: Decision{Keep, Orphan}},
		{name: "deleted by the user", u: whiteout, b: old, n: old, want: Decision{Keep, Deleted}},
		{name: "deleted by the user, policy image", u: whiteout, b: old, n: old, choice: ChooseImage, want: Decision{Keep, Deleted}},
		{name: "deleted, then updated", u: whiteout, b: old, n: newer, want: Decision{Keep, DeletedButUpdated}},
		{name: "the same, policy image", u: whiteout, b: old, n: newer, choice: ChooseImage, want: Decision{Keep, DeletedButUpdated}},
		{name: "the same, policy restore", u: whiteout, b: old, n: newer, choice: ChooseRestore, want: Decision{Drop, DeletedButUpdated}},
		{name: "the same, restored by configuration", u: whiteout, b: old, n: newer, choice: ChooseImage, opts: Options{RestoreUpdated: true}, want: Decision{Drop, DeletedButUpdated}},
		{name: "the same, a rule keeps it", u: whiteout, b: old, n: newer, choice: ChooseKeep, opts: Options{RestoreUpdated: true}, want: Decision{Keep, DeletedButUpdated}},
		{name: "whiteout over a file that is new", u: whiteout, b: Nothing, n: newer, want: Decision{Drop, NewlyShipped}},
		{name: "whiteout, queued", u: whiteout, b: old, n: old, queued: true, want: Decision{Drop, Queued}},
		{name: "whiteout, queued, no record", u: whiteout, b: unknown, n: newer, queued: true, want: Decision{Drop, Queued}},
		{name: "stale copy", u: old, b: old, n: newer, want: Decision{Drop, Stale}},
		{name: "stale copy that policy keeps edits of", u: old, b: old, n: newer, choice: ChooseKeep, want: Decision{Drop, Stale}},
		{name: "copy of what the image removed", u: old, b: old, n: Nothing, want: Decision{Drop, Removed}},
		{name: "edit of what the image left alone", u: mine, b: old, n: old, want: Decision{Keep, Edited}},
		{name: "the same, policy image", u: mine, b: old, n: old, choice: ChooseImage, want: Decision{Keep, Edited}},
		{name: "redundant copy", u: newer, b: old, n: newer, want: Decision{Drop, Redundant}},
		{name: "redundant copy of what is new", u: newer, b: Nothing, n: newer, want: Decision{Drop, Redundant}},
		{name: "redundant copy, no record", u: newer, b: unknown, n: newer, want: Decision{Drop, Redundant}},
		{name: "conflict, keep", u: mine, b: old, n: newer, choice: ChooseKeep, want: Decision{Keep, Conflict}},
		{name: "conflict, no rule", u: mine, b: old, n: newer, want: Decision{Keep, Conflict}},
		{name: "conflict, image", u: mine, b: old, n: newer, choice: ChooseImage, want: Decision{Drop, Conflict}},
		{name: "conflict, restore", u: mine, b: old, n: newer, choice: ChooseRestore, want: Decision{Drop, Conflict}},
		{name: "conflict, keep-both", u: mine, b: old, n: newer, choice: ChooseBoth, want: Decision{KeepBoth, Conflict}},
		{name: "conflict with what is new, keep", u: mine, b: Nothing, n: newer, choice: ChooseKeep, want: Decision{Keep, Conflict}},
		{name: "conflict with what is new, image", u: mine, b: Nothing, n: newer, choice: ChooseImage, want: Decision{Drop, Conflict}},
		{name: "edit of what the image removed", u: mine, b: old, n: Nothing, want: Decision{Keep, Obsolete}},
		{name: "the same, policy image", u: mine, b: old, n: Nothing, choice: ChooseImage, want: Decision{Keep, Obsolete}},
		{name: "the user's own", u: mine, b: Nothing, n: Nothing, want: Decision{Keep, Own}},
		{name: "the user's own, no record", u: mine, b: unknown, n: Nothing, want: Decision{Keep, Own}},
		{name: "no record", u: mine, b: unknown, n: newer, choice: ChooseImage, want: Decision{Keep, NoBaseline}},
		{name: "whiteout, no record", u: whiteout, b: unknown, n: newer, choice: ChooseRestore, want: Decision{Keep, NoBaseline}},
		{name: "opaque, no record", u: opaque, b: unknown, n: dir, choice: ChooseRestore, want: Decision{Keep, NoBaseline}},
		{name: "other type, keep", u: mine, b: old, n: dir, choice: ChooseKeep, want: Decision{Keep, Conflict}},
		{name: "other type, image", u: mine, b: old, n: dir, choice: ChooseImage, want: Decision{Drop, Conflict}},
		{name: "other type that cannot be put beside", u: mine, b: old, n: dir, choice: ChooseBoth, want: Decision{Keep, Conflict}},
		{name: "directory where the image has a file now", u: with(dir, func(v *Version) { v.Mode = 0o700 }), b: dir, n: newer, choice: ChooseImage, want: Decision{Drop, Conflict}},
		{name: "the image's directory has other attributes", u: dir, b: dir, n: with(dir, func(v *Version) { v.Mode = 0o700 }), want: Decision{Adopt, Stale}},
		{name: "both changed a directory's attributes", u: with(dir, func(v *Version) { v.UID = 7 }), b: dir, n: with(dir, func(v *Version) { v.Mode = 0o700 }), choice: ChooseImage, want: Decision{Adopt, Conflict}},
		{name: "new directory of the user and of the image", u: opaque, b: Nothing, n: dir, want: Decision{Merge, NewlyShipped}},
		{name: "directory made anew", u: opaque, b: dir, n: dir, want: Decision{Keep, Edited}},
		{name: "directory made anew, policy restore", u: opaque, b: dir, n: dir, choice: ChooseRestore, want: Decision{Merge, Conflict}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := Entry{Upper: test.u, Base: test.b, New: test.n, Queued: test.queued}
			if got := Decide(e, test.choice, test.opts); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			e.Covered = true
			if got := Decide(e, test.choice, test.opts); got != (Decision{Keep, Covered}) {
				t.Errorf("below a directory of the user: got %v", got)
			}
		})
	}
}

// One thing that differs makes an edit, whichever it is; times do not.
func TestDecideComparesAll(t *testing.T) {
	xattr := with(old, func(v *Version) { v.Xattrs = "x" })
	for name, u := range map[string]Version{
		"content": mine,
		"size":    text("longer"),
		"mode":    with(old, func(v *Version) { v.Mode = 0o600 }),
		"user":    with(old, func(v *Version) { v.UID = 1 }),
		"group":   with(old, func(v *Version) { v.GID = 1 }),
		"xattrs":  xattr,
	} {
		if got := Decide(Entry{Upper: u, Base: old, New: old}, ChooseImage, Options{}); got != (Decision{Keep, Edited}) {
			t.Errorf("%s: got %v, want an edit", name, got)
		}
	}
	// What was not read is not taken to be equal.
	unread := with(old, func(v *Version) { v.Digest = "" })
	if got := Decide(Entry{Upper: unread, Base: unread, New: newer}, ChooseKeep, Options{}); got != (Decision{Keep, Conflict}) {
		t.Errorf("content that was not read: got %v", got)
	}
	// A copy of metadata shows the image's content, whichever that is.
	follows := with(old, func(v *Version) { v.Follows, v.Digest = true, "" })
	if got := Decide(Entry{Upper: follows, Base: old, New: newer}, ChooseKeep, Options{}); got != (Decision{Drop, Redundant}) {
		t.Errorf("metacopy that the user did not change: got %v", got)
	}
	follows.Mode = 0o600
	if got := Decide(Entry{Upper: follows, Base: old, New: newer}, ChooseImage, Options{}); got != (Decision{Keep, Edited}) {
		t.Errorf("metacopy with another mode: got %v", got)
	}
}

// Every pair of types in the upper and in the new image, for what the baseline
// may have. Letters are what becomes of it:
//
//	.  kept, quietly     k  kept, and reported
//	D  dropped           M  merged            B  both kept
//
// The policy is keep-both, so that a conflict shows as k or B. Entries of one
// type are equal in B, U and N.
func TestDecidePairs(t *testing.T) {
	types := map[string]Version{
		"file": old, "dir": dir, "link": {Known: true, Type: Symlink, Target: "to"},
		"dev": {Known: true, Type: CharDev, Device: 5}, "fifo": {Known: true, Type: Fifo},
		"white": whiteout, "opaque": opaque, "none": Nothing,
	}
	const same = `
		U\N     file dir  link dev  fifo none
		file    D    D    D    D    D    D
		dir     D    .    D    D    D    D
		link    D    D    D    D    D    D
		dev     D    D    D    D    D    D
		fifo    D    D    D    D    D    D`
	const missing = `
		U\N     file dir  link dev  fifo none
		file    D    k    B    k    k    .
		dir     B    .    B    k    k    .
		link    B    k    D    k    k    .
		dev     B    k    B    D    k    .
		fifo    B    k    B    k    D    .
		white   D    D    D    D    D    k
		opaque  B    M    B    k    k    .`
	const unrecorded = `
		U\N     file dir  link dev  fifo none
		file    D    k    k    k    k    .
		dir     k    .    k    k    k    .
		link    k    k    D    k    k    .
		dev     k    k    k    D    k    .
		fifo    k    k    k    k    D    .
		white   k    k    k    k    k    k
		opaque  k    k    k    k    k    .`
	const isNew = `
		U\N     file dir  link dev  fifo none
		file    D    .    .    .    .    k
		dir     .    .    .    .    .    k
		link    .    .    D    .    .    k
		dev     .    .    .    D    .    k
		fifo    .    .    .    .    D    k
		white   .    .    .    .    .    k
		opaque  .    .    .    .    .    .`
	const isFile = `
		U\N     file dir  link dev  fifo none
		file    D    D    D    D    D    D
		dir     .    .    B    k    k    k
		link    .    k    D    k    k    k
		dev     .    k    B    D    k    k
		fifo    .    k    B    k    D    k
		white   .    k    k    k    k    k
		opaque  .    .    B    k    k    .`
	for _, table := range []struct {
		name, want string
		base       func(u, n Version) Version
	}{
		{"as the upper", same, func(u, _ Version) Version { return u }},
		{"as the new image", isNew, func(_, n Version) Version {
			if n.Type == Missing { // then the user changed what the image removed
				return text("another")
			}
			return n
		}},
		{"file", isFile, func(_, _ Version) Version { return old }},
		{"missing", missing, func(_, _ Version) Version { return Nothing }},
		{"no record", unrecorded, func(_, _ Version) Version { return unknown }},
	} {
		lines := strings.Split(strings.TrimSpace(table.want), "\n")
		columns := strings.Fields(lines[0])[1:]
		for _, line := range lines[1:] {
			cells := strings.Fields(line)
			u := types[cells[0]]
			for i, want := range cells[1:] {
				n := types[columns[i]]
				d := Decide(Entry{Upper: u, Base: table.base(u, n), New: n}, ChooseBoth, Options{})
				got := map[Action]string{Drop: "D", Merge: "M", KeepBoth: "B", Adopt: "A", Keep: "."}[d.Action]
				if d.Action == Keep && d.Reason.Loud() {
					got = "k"
				}
				if got != want {
					t.Errorf("baseline %s: %s in the upper, %s in the image: got %s (%v), want %s", table.name, cells[0], columns[i], got, d, want)
				}
			}
		}
	}
}

// Whiteouts in a directory that the image removed hide nothing, and would be
// listed.
func TestDecideOrphanedWhiteout(t *testing.T) {
	e := Entry{Upper: whiteout, Base: old, New: Nothing, Orphaned: true, Covered: true}
	if got := Decide(e, ChooseKeep, Options{}); got != (Decision{Drop, Orphan}) {
		t.Errorf("got %v", got)
	}
	e.Upper = mine
	if got := Decide(e, ChooseKeep, Options{}); got.Action != Keep {
		t.Errorf("a file there: got %v", got)
	}
}
