// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Kind is why a transaction was made.
type Kind string

// The kinds of transactions.
const (
	KindRestore   Kind = "restore"   // somebody asked for it
	KindRepair    Kind = "repair"    // check --repair
	KindReconcile Kind = "reconcile" // a new image
	KindResolve   Kind = "resolve"   // a conflict with it was decided
	KindUndo      Kind = "undo"      // of another transaction
)

// Intent is what a transaction is for; it is on disk before anything is done.
type Intent struct {
	Kind    Kind   `json:"kind"`
	Overlay string `json:"overlay,omitempty"` // the mount point, or the upper of an unmounted one
	From    string `json:"from,omitempty"`    // of a reconcile: the image before
	To      string `json:"to,omitempty"`      // and the new one
	Undoes  string `json:"undoes,omitempty"`  // of an undo: the transaction
	Note    string `json:"note,omitempty"`    // for people
}

// Tx is one transaction: entries that were dropped together. It satisfies
// overlay.Keeper.
type Tx struct {
	ID     string
	store  *Store
	log    *os.File
	backup *os.File
	kept   int
	lines  int   // of the log
	size   int64 // of it
	// reserved is the room that the log has on disk.
	reserved int64
	made     []madeEntry
	// elsewhere: nothing can be renamed into the store. aside: something waits to be
	// removed when it is done.
	elsewhere, aside bool
	links            map[int]string // hard links that were kept, by their number: the paths
}

// madeEntry is something that exists because of the transaction.
type madeEntry struct {
	line int
	op   Op
	rel  string
}

// Begin starts a transaction.
func (s *Store) Begin(intent Intent) (*Tx, error) {
	if s.lock == nil {
		return nil, ErrNotLocked
	}
	all, err := makeDir(s.dir, "tx")
	if err != nil {
		return nil, fmt.Errorf("begin a transaction in %q: %w", s.path, err)
	}
	defer func() { _ = all.Close() }()
	tx := &Tx{store: s, elsewhere: s.isElsewhere()}
	if tx.ID, err = newID(all, time.Now()); err == nil {
		err = tx.create(all, intent)
	}
	if err != nil {
		return nil, fmt.Errorf("begin a transaction in %q: %w", s.path, errors.Join(err, tx.close()))
	}
	return tx, nil
}

// newID counts on from the transactions that are there: devices without a
// battery start each day in 1970, so that their time says little of the order.
func newID(all *os.File, now time.Time) (string, error) {
	ids, err := readIDs(all)
	last := 0
	for _, id := range ids {
		last = max(last, sequence(id))
	}
	return fmt.Sprintf("%06d-%s", last+1, now.UTC().Format("20060102T150405Z")), err
}

func (tx *Tx) create(all *os.File, intent Intent) error {
	dir, err := makeDir(all, tx.ID)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if tx.backup, err = makeDir(dir, "backup"); err != nil {
		return err
	}
	tx.log, err = openAt(dir, "log.jsonl", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := tx.write(record{Op: OpBegin, Intent: &intent}); err != nil {
		return err
	}
	return dir.Sync()
}

// Link keeps a hard link of dirfd/name, which is at rel from the overlay's root.
// The link is on disk when Link returns.
func (tx *Tx) Link(dirfd int, name, rel string) (where string, err error) {
	if tx.elsewhere {
		return tx.copyOf(dirfd, name, rel, false)
	}
	if tx.links == nil {
		tx.links = map[int]string{}
	}
	tx.links[tx.kept+1] = rel
	return tx.keep(record{Op: OpLink}.withPath(rel), func(backup int, n string) error {
		return unix.Linkat(dirfd, name, backup, n, 0)
	})
}

// Move takes dirfd/name away in one rename, a directory with all that is in it.
// The move is on disk when Move returns. An error with where set says that the
// entry was moved there, but is perhaps not on disk yet.
func (tx *Tx) Move(dirfd int, name, rel string) (where string, err error) {
	if tx.elsewhere {
		return tx.copyOf(dirfd, name, rel, true)
	}
	return tx.keep(record{Op: OpMove}.withPath(rel), func(backup int, n string) error {
		return unix.Renameat(dirfd, name, backup, n)
	})
}

func (tx *Tx) copyOf(dirfd int, name, rel string, drop bool) (where string, err error) {
	dir, err := duplicateFD(dirfd)
	if err == nil {
		where, err = tx.copyAway(record{}.withPath(rel), dir, name, drop)
		_ = dir.Close() // it is the caller's
	}
	return where, err
}

// Note records that something without an entry of its own is about to be
// dropped: "whiteout", a directory's mark "opaque", or one "impure" to be made.
func (tx *Tx) Note(what, rel string) error {
	return tx.tell(record{Op: OpNote, What: what}.withPath(rel))
}

// Created records that an entry is about to be made in the upper, where there
// was none: undo takes it away again, unless somebody changes it after Done.
func (tx *Tx) Created(rel string) error {
	return tx.tell(record{Op: OpCreated}.withPath(rel))
}

// Attributes records that the attributes of dirfd/name are about to be changed.
// What they are is kept, but for the overlay's own extended attributes.
func (tx *Tx) Attributes(dirfd int, name, rel string) error {
	dir, err := duplicateFD(dirfd)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	a, err := readAttributes(dir, name)
	if err != nil {
		return fmt.Errorf("read the attributes, to keep them: %w", err)
	}
	return tx.tell(record{Op: OpAttr, Attr: a.withoutOverlays()}.withPath(rel))
}

func (tx *Tx) tell(r record) error {
	if err := tx.write(r); err != nil {
		return fmt.Errorf("note in the transaction %s: %w", tx.ID, err)
	}
	return nil
}

func (tx *Tx) keep(r record, do func(backup int, n string) error) (string, error) {
	tx.kept++ // also where it then fails: a number in the log means one attempt
	n := tx.kept
	where := filepath.Join(tx.store.path, "tx", tx.ID, "backup", strconv.Itoa(n))
	r.N = n
	err := tx.write(r)
	if err == nil {
		err = do(int(tx.backup.Fd()), strconv.Itoa(n))
	}
	if err != nil {
		return "", fmt.Errorf("keep a backup as %q: %w", where, err)
	}
	if err := tx.backup.Sync(); err != nil {
		return where, fmt.Errorf("make the backup %q durable: %w", where, err)
	}
	return where, nil
}

// Done ends the transaction and closes it.
func (tx *Tx) Done() error {
	err := tx.removeLinks()
	if err == nil {
		err = tx.recordMade()
	}
	if err == nil {
		err = tx.write(record{Op: OpDone})
	}
	if err == nil && tx.aside {
		err = tx.store.removeAside()
	}
	return errors.Join(err, tx.close())
}

// removeLinks removes the links of what was not dropped after all.
func (tx *Tx) removeLinks() error {
	for n, rel := range tx.links {
		name := strconv.Itoa(n)
		kept, err := lstatAt(tx.backup, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		parent, base := split(rel)
		dir, err := overlay.OpenBeneath(tx.store.upper, parent, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue // it is gone with its directory
		}
		st, err := lstatAt(dir, base)
		_ = dir.Close() // it was only read
		if err == nil && st.Dev == kept.Dev && st.Ino == kept.Ino {
			if err := unix.Unlinkat(int(tx.backup.Fd()), name, 0); err != nil {
				return fmt.Errorf("remove the link of what was not dropped: %w", err)
			}
		}
	}
	return nil
}

// recordMade records how what was made looks, so that undo knows it again.
func (tx *Tx) recordMade() error {
	for _, m := range tx.made {
		r := record{Op: OpMade, I: m.line}
		dir, name := split(m.rel)
		d, err := overlay.OpenBeneath(tx.store.upper, dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if err == nil {
			var id identity
			id, err = m.identify(d, name)
			r.Is = &id
			_ = d.Close() // it was only read
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // it was not made, or is gone already
		}
		if err == nil {
			err = tx.append(r)
		}
		if err != nil {
			return fmt.Errorf("look at what the transaction %s made: %w", tx.ID, err)
		}
	}
	return nil
}

func (m *madeEntry) identify(dir *os.File, name string) (identity, error) {
	if m.op != OpAttr {
		return identify(dir, name)
	}
	a, err := readAttributes(dir, name)
	if err != nil {
		return identity{}, err
	}
	st, err := lstatAt(dir, name)
	return identity{Ino: st.Ino, Mode: st.Mode, Sum: a.withoutOverlays().sum()}, err
}

func (tx *Tx) close() error { return closeAll(tx.log, tx.backup) }

// write appends a line and waits until it is on disk.
func (tx *Tx) write(r record) error {
	if err := tx.append(r); err != nil {
		return err
	}
	return tx.log.Sync()
}

func (tx *Tx) append(r record) error {
	r.Time = time.Now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if r.Op != OpDone && r.Op != OpMade {
		if err := tx.reserve(int64(len(line))); err != nil {
			return err
		}
	}
	if _, err := tx.log.Write(line); err != nil {
		// A disk that is full may have taken half of it, which the next line
		// would be appended to.
		return errors.Join(err, tx.log.Truncate(tx.size))
	}
	tx.size += int64(len(line))
	if r.Op == OpCreated || r.Op == OpPut || r.Op == OpAttr {
		tx.made = append(tx.made, madeEntry{tx.lines, r.Op, r.rel()})
	}
	tx.lines++
	return nil
}

// reserve makes sure that there will be room for the end of the log, too: on a
// disk that fills up meanwhile, a transaction without it would be taken for one
// that a crash cut off. Where a file system cannot tell, it is left to luck.
func (tx *Tx) reserve(n int64) error {
	const end, chunk = 512, 4 << 10
	need := tx.size + n + end + int64(len(tx.made)+1)*end/2
	if need <= tx.reserved {
		return nil
	}
	size := (need + chunk - 1) / chunk * chunk
	err := unix.Fallocate(int(tx.log.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("reserve room for the log: %w", err)
	}
	tx.reserved = size
	return nil
}
