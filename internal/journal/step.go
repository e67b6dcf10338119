// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Action is what undoing one step of a transaction does.
type Action string

// The actions.
const (
	ActPutBack    Action = "put-back"   // an entry comes back
	ActTakeAway   Action = "take-away"  // an entry that was made goes into the backup
	ActOpaque     Action = "opaque"     // a directory becomes opaque again
	ActMerge      Action = "merge"      // or no longer is
	ActWhiteout   Action = "whiteout"   // the name is hidden again
	ActAttributes Action = "attributes" // mode, owner, times and extended attributes come back
	ActNone       Action = "none"       // it is as it was before
)

// ChangedError says that somebody changed a path after the transaction, so that
// undoing it would lose that change: errors.Is ESTALE.
type ChangedError struct {
	What string // what was found
}

func (e *ChangedError) Error() string { return "it was changed since: " + e.What }

// Unwrap returns ESTALE.
func (e *ChangedError) Unwrap() error { return unix.ESTALE }

// logged is the log of one transaction, with its directory open.
type logged struct {
	id     string
	dir    *os.File
	backup *os.File // nil where a power cut left none
	lines  []record
}

func (s *Store) openLogged(id string) (*logged, error) {
	dir, err := s.openTx(id)
	if err != nil {
		return nil, err
	}
	l := &logged{id: id, dir: dir}
	l.backup, err = openAt(dir, "backup", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err == nil {
		l.lines, err = readLog(dir)
	}
	if err != nil {
		_ = l.close()
		return nil, err
	}
	return l, nil
}

func (l *logged) close() error { return closeAll(l.dir, l.backup) }

func (l *logged) has(op Op) bool {
	for i := range l.lines {
		if l.lines[i].Op == op {
			return true
		}
	}
	return false
}

// made is how what line i made looked at the end of the transaction.
func (l *logged) made(i int) *identity {
	for _, r := range l.lines {
		if r.Op == OpMade && r.I == i {
			return r.Is
		}
	}
	return nil
}

// inverter does the inverse of lines of a log: for an undo, which logs what it
// does itself, or for rolling back what was cut off.
type inverter struct {
	store *Store
	site  *overlay.Site
	of    *logged
	dry   bool
	// tx is the undo, made when there is something to do; nil for rolling back.
	begin func() (*Tx, error)
	tx    *Tx
	// What a dry run would have changed so far.
	has, lacks map[string]bool
}

func (v *inverter) rollsBack() bool { return v.begin == nil }

// log has a line on disk before what it tells of is done.
func (v *inverter) log(r record) error {
	if v.rollsBack() {
		return nil // the lines that are rolled back are enough to go on
	}
	return v.tx.write(r)
}

// ready begins the undo.
func (v *inverter) ready() error {
	if v.rollsBack() || v.tx != nil {
		return nil
	}
	var err error
	v.tx, err = v.begin()
	return err
}

// place is where a line's entry lies.
type place struct {
	dir  *os.File
	name string
	rel  string
	i    int // of the line
	*record
	stat  unix.Stat_t
	found bool
	white bool
}

// invert does, or with dry only foresees, the inverse of line i.
func (v *inverter) invert(i int) (Action, error) {
	r := &v.of.lines[i]
	p := &place{i: i, record: r, rel: r.rel()}
	parent, name := split(p.rel)
	p.name = name
	dir, err := v.site.OpenDir(parent)
	if err != nil {
		return v.noParent(p, parent, err)
	}
	return v.invertIn(p, dir)
}

// invertIn does it in the entry's directory, and closes that.
func (v *inverter) invertIn(p *place, dir *os.File) (_ Action, err error) {
	defer func() { _ = dir.Close() }()
	r, name := p.record, p.name
	p.dir = dir
	p.stat, err = lstatAt(p.dir, name)
	if err == nil {
		p.found = true
		p.white, err = v.site.IsWhiteout(p.dir, name)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return ActNone, err
	}
	if v.dry {
		p.found = p.found && !v.lacks[p.rel]
	} else if err := v.ready(); err != nil {
		return ActNone, err
	}
	switch r.Op {
	case OpLink, OpMove:
		return v.putBack(p)
	case OpCopy:
		return v.copyBack(p)
	case OpCreated, OpPut:
		return v.takeAway(p)
	case OpAttr:
		return v.attributes(p)
	default: // OpNote, OpSet
		switch r.What {
		case "whiteout":
			return v.whiteout(p)
		case "opaque":
			return v.opaque(p)
		}
		return ActNone, nil // a mark that does no harm
	}
}

// noParent is for an entry whose directory the upper does not have.
func (v *inverter) noParent(p *place, parent string, err error) (Action, error) {
	switch {
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP):
		return ActNone, fmt.Errorf("open its directory in the upper: %w", err)
	case p.Op == OpCreated, p.Op == OpPut:
		return ActNone, nil
	case p.Op == OpLink, p.Op == OpMove, p.Op == OpCopy:
		if _, kept := v.of.kept(p.N); !kept {
			return ActNone, nil
		}
	}
	// What the image has of the directory, a mounted overlay can have in the upper.
	rebuilt := p.Op != OpAttr && v.site.CopyUp(parent, v.dry) == nil
	if v.dry {
		for dir := parent; dir != "." && !rebuilt; dir, _ = split(dir) {
			rebuilt = v.has[dir]
		}
		if rebuilt {
			return map[Op]Action{
				OpLink: ActPutBack, OpMove: ActPutBack, OpCopy: ActPutBack, OpAttr: ActAttributes, OpNote: ActWhiteout,
			}[p.Op], nil
		}
	}
	if dir, err := v.site.OpenDir(parent); rebuilt && err == nil {
		return v.invertIn(p, dir)
	}
	return ActNone, &ChangedError{What: fmt.Sprintf("the upper has no directory %q any more", parent)}
}

// putBack brings an entry back from the backup.
func (v *inverter) putBack(p *place) (Action, error) {
	backup, kept := v.of.kept(p.N)
	n := strconv.Itoa(p.N)
	switch {
	case !kept: // it was never dropped, or is back
		return ActNone, nil
	case p.found && p.stat.Dev == backup.Dev && p.stat.Ino == backup.Ino:
		// It was linked, and not dropped.
		if v.rollsBack() {
			return ActNone, unix.Unlinkat(int(v.of.backup.Fd()), n, 0)
		}
		return ActNone, nil
	case p.found:
		return ActPutBack, p.changed()
	case v.dry:
		v.has[p.rel] = true
		return ActPutBack, nil
	}
	err := v.log(record{Op: OpPut, N: p.N, Tx: v.of.id, I: p.i, Is: &identity{Ino: backup.Ino, Mode: backup.Mode}}.withPath(p.rel))
	if err == nil {
		err = overlay.RenameNew(v.of.backup, n, p.dir, p.name)
	}
	if errors.Is(err, unix.EEXIST) {
		return ActPutBack, &ChangedError{What: "it was made in this moment"}
	}
	if err == nil {
		err = p.dir.Sync()
	}
	return ActPutBack, err
}

// changed says what is in the way.
func (p *place) changed() error {
	what := "there is an entry"
	switch p.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		what = "there is a file"
	case unix.S_IFDIR:
		what = "there is a directory"
	case unix.S_IFLNK:
		what = "there is a symbolic link"
	}
	if p.white {
		what = "it was deleted again"
	}
	return &ChangedError{What: what}
}

// takeAway moves an entry that was made into the backup.
func (v *inverter) takeAway(p *place) (Action, error) {
	if !p.found {
		return ActNone, nil
	}
	if v.rollsBack() {
		return v.takeBack(p)
	}
	is := v.of.made(p.i)
	now, err := identify(p.dir, p.name)
	switch {
	case err != nil:
		return ActTakeAway, err
	case is == nil || *is != now:
		return ActTakeAway, &ChangedError{What: "its content, or attributes"}
	case v.dry:
		v.lacks[p.rel] = true
		return ActTakeAway, nil
	}
	return ActTakeAway, v.keepAway(p)
}

// keepAway moves an entry into the backup of the undo.
func (v *inverter) keepAway(p *place) error {
	r := record{Op: OpMove, Tx: v.of.id, I: p.i}.withPath(p.rel)
	if v.tx.elsewhere {
		_, err := v.tx.copyAway(r, p.dir, p.name, true)
		return err
	}
	_, err := v.tx.keep(r, func(backup int, n string) error {
		return unix.Renameat(int(p.dir.Fd()), p.name, backup, n)
	})
	return err
}

// takeBack rolls back what was made.
func (v *inverter) takeBack(p *place) (Action, error) {
	if p.Op == OpPut {
		from, err := v.store.openLogged(p.Tx)
		if err != nil {
			return ActTakeAway, err
		}
		defer func() { _ = from.close() }()
		switch {
		case p.What == "copy":
			return v.takeCopyBack(p, from)
		case p.Is == nil || p.Is.Ino != p.stat.Ino || p.Is.Mode&unix.S_IFMT != p.stat.Mode&unix.S_IFMT:
			return ActTakeAway, p.changed()
		}
		return ActTakeAway, p.setAside(from.backup, strconv.Itoa(p.N))
	}
	if p.white {
		return ActNone, nil
	}
	return ActTakeAway, v.putAway(p)
}

// putAway moves what a transaction made into its own backup, or, where that is
// elsewhere, copies it there first.
func (v *inverter) putAway(p *place) error {
	name := "made-" + strconv.Itoa(p.i)
	if !v.store.isElsewhere() {
		return p.setAside(v.of.backup, name)
	}
	if err := copyVerified(p.dir, p.name, v.of.backup, name); err != nil {
		return err
	}
	aside, err := v.store.asideDir()
	if err != nil {
		return err
	}
	defer func() { _ = aside.Close() }()
	temp, err := v.store.asideName(v.of.id, p.i)
	if err != nil {
		return err
	}
	temp += ".made"
	if err := removeTree(aside, temp); err != nil {
		return err
	}
	if err := p.setAside(aside, temp); err != nil {
		return err
	}
	return removeTree(aside, temp)
}

// setAside renames an entry out of the upper.
func (p *place) setAside(to *os.File, name string) error {
	err := overlay.RenameNew(p.dir, p.name, to, name)
	if err == nil {
		err = errors.Join(to.Sync(), p.dir.Sync())
	}
	return err
}

// whiteout makes a whiteout where one was removed, and the reverse.
func (v *inverter) whiteout(p *place) (Action, error) {
	if p.Op == OpSet {
		return v.unhide(p)
	}
	switch {
	case p.white:
		return ActNone, nil
	case p.found:
		return ActWhiteout, p.changed()
	case v.dry:
		v.has[p.rel] = true
		return ActWhiteout, nil
	}
	err := v.log(record{Op: OpSet, What: "whiteout", Tx: v.of.id, I: p.i}.withPath(p.rel))
	if err == nil {
		err = unix.Mknodat(int(p.dir.Fd()), p.name, unix.S_IFCHR, 0)
	}
	if errors.Is(err, unix.EEXIST) {
		return ActWhiteout, &ChangedError{What: "it was made in this moment"}
	}
	if err == nil {
		err = p.dir.Sync()
	}
	return ActWhiteout, err
}

func (v *inverter) unhide(p *place) (Action, error) {
	switch {
	case !p.found:
		return ActNone, nil
	case !p.white:
		return ActTakeAway, p.changed()
	case v.dry:
		v.lacks[p.rel] = true
		return ActTakeAway, nil
	case v.rollsBack():
		return ActTakeAway, v.putAway(p)
	}
	return ActTakeAway, v.keepAway(p)
}

// opaque puts a directory's mark back, or takes it away again.
func (v *inverter) opaque(p *place) (Action, error) {
	action, undo := ActOpaque, record{Op: OpSet, What: "opaque", Tx: v.of.id, I: p.i}
	if p.Op == OpSet {
		action, undo.Op = ActMerge, OpNote
	}
	if !p.found || p.stat.Mode&unix.S_IFMT != unix.S_IFDIR || p.white {
		if p.found {
			return action, p.changed()
		}
		return action, &ChangedError{What: "the directory is gone"}
	}
	dir, err := overlay.OpenBeneath(p.dir, p.name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return action, err
	}
	defer func() { _ = dir.Close() }()
	key := v.site.XattrPrefix() + "opaque"
	value, err := growing(func(b []byte) (int, error) { return unix.Fgetxattr(int(dir.Fd()), key, b) })
	if err != nil && !errors.Is(err, unix.ENODATA) {
		return action, fmt.Errorf("read %s: %w", key, err)
	}
	switch isOpaque := string(value) == "y"; {
	case isOpaque == (action == ActOpaque):
		return ActNone, nil
	case !isOpaque && len(value) > 0:
		return action, &ChangedError{What: fmt.Sprintf("its mark %s is %q", key, value)}
	case v.dry:
		return action, nil
	}
	if err := v.log(undo.withPath(p.rel)); err != nil {
		return action, err
	}
	if action == ActOpaque {
		err = unix.Fsetxattr(int(dir.Fd()), key, []byte("y"), 0)
	} else {
		err = unix.Fremovexattr(int(dir.Fd()), key)
	}
	if err == nil {
		err = dir.Sync()
	}
	return action, err
}

// attributes puts an entry's attributes back.
func (v *inverter) attributes(p *place) (Action, error) {
	if !p.found || p.Attr == nil {
		return ActAttributes, &ChangedError{What: "it is gone"}
	}
	now, err := readAttributes(p.dir, p.name)
	if err != nil {
		return ActAttributes, err
	}
	now = now.withoutOverlays()
	is := v.of.made(p.i)
	switch {
	case now.equal(p.Attr):
		return ActNone, nil
	case (now.Mode^p.Attr.Mode)&unix.S_IFMT != 0:
		return ActAttributes, p.changed()
	case !v.rollsBack() && (is == nil || is.Ino != p.stat.Ino || is.Sum != now.sum()):
		return ActAttributes, &ChangedError{What: "its attributes"}
	case v.dry:
		return ActAttributes, nil
	}
	err = v.log(record{Op: OpAttr, Tx: v.of.id, I: p.i, Attr: now}.withPath(p.rel))
	if err == nil {
		err = p.Attr.write(p.dir, p.name, false)
	}
	return ActAttributes, err
}
