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
	size   int64 // of the log
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
	tx := &Tx{store: s}
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
	return tx.keep(OpLink, rel, func(backup int, n string) error {
		return unix.Linkat(dirfd, name, backup, n, 0)
	})
}

// Move takes dirfd/name away in one rename, a directory with all that is in it.
// The move is on disk when Move returns. An error with where set says that the
// entry was moved there, but is perhaps not on disk yet.
func (tx *Tx) Move(dirfd int, name, rel string) (where string, err error) {
	return tx.keep(OpMove, rel, func(backup int, n string) error {
		return unix.Renameat(dirfd, name, backup, n)
	})
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

func (tx *Tx) tell(r record) error {
	if err := tx.write(r); err != nil {
		return fmt.Errorf("note in the transaction %s: %w", tx.ID, err)
	}
	return nil
}

func (tx *Tx) keep(op Op, rel string, do func(backup int, n string) error) (string, error) {
	tx.kept++ // also where it then fails: a number in the log means one attempt
	n := tx.kept
	where := filepath.Join(tx.store.path, "tx", tx.ID, "backup", strconv.Itoa(n))
	err := tx.write(record{Op: op, N: n}.withPath(rel))
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
	return errors.Join(tx.write(record{Op: OpDone}), tx.close())
}

func (tx *Tx) close() error { return closeAll(tx.log, tx.backup) }

// write appends a line and waits until it is on disk.
func (tx *Tx) write(r record) error {
	r.Time = time.Now().UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err := tx.log.Write(line); err != nil {
		// A disk that is full may have taken half of it, which the next line
		// would be appended to.
		return errors.Join(err, tx.log.Truncate(tx.size))
	}
	tx.size += int64(len(line))
	return tx.log.Sync()
}
