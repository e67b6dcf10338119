// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

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

// record is one line of log.jsonl.
type record struct {
	Op    string    `json:"op"`              // begin, link, move, note, done
	Time  time.Time `json:"time"`            //
	N     int       `json:"n,omitempty"`     // the entry's name in backup/
	What  string    `json:"what,omitempty"`  // of a note: opaque
	Path  string    `json:"path,omitempty"`  // from the overlay's root
	Bytes []byte    `json:"bytes,omitempty"` // the path where it is not UTF-8 (base64)
}

// Begin starts a transaction.
func (s *Store) Begin() (*Tx, error) {
	all, err := makeDir(s.dir, "tx")
	if err != nil {
		return nil, fmt.Errorf("begin a transaction in %q: %w", s.path, err)
	}
	defer func() { _ = all.Close() }()
	tx := &Tx{ID: newID(time.Now()), store: s}
	if err := tx.create(all); err != nil {
		return nil, fmt.Errorf("begin a transaction in %q: %w", s.path, errors.Join(err, tx.close()))
	}
	return tx, nil
}

// newID sorts by time, and is unique where the clock is not: devices without a
// battery start each day in 1970.
func newID(now time.Time) string {
	return now.UTC().Format("20060102T150405Z") + "-" + strconv.FormatUint(uint64(rand.Uint32()), 36)
}

func (tx *Tx) create(all *os.File) error {
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
	if err := tx.write(record{Op: "begin"}); err != nil {
		return err
	}
	return dir.Sync()
}

// Link keeps a hard link of dirfd/name, which is at rel from the overlay's root.
// The link is on disk when Link returns.
func (tx *Tx) Link(dirfd int, name, rel string) (where string, err error) {
	return tx.keep("link", rel, func(backup int, n string) error {
		return unix.Linkat(dirfd, name, backup, n, 0)
	})
}

// Move takes dirfd/name away in one rename, a directory with all that is in it.
// The move is on disk when Move returns. An error with where set says that the
// entry was moved there, but is perhaps not on disk yet.
func (tx *Tx) Move(dirfd int, name, rel string) (where string, err error) {
	return tx.keep("move", rel, func(backup int, n string) error {
		return unix.Renameat(dirfd, name, backup, n)
	})
}

// Note records that something without an entry of its own is about to be
// dropped, such as a directory's opaque mark.
func (tx *Tx) Note(what, rel string) error {
	if err := tx.write(withPath(record{Op: "note", What: what}, rel)); err != nil {
		return fmt.Errorf("note in the transaction %s: %w", tx.ID, err)
	}
	return nil
}

func (tx *Tx) keep(op, rel string, do func(backup int, n string) error) (string, error) {
	tx.kept++ // also where it then fails: a number in the log means one attempt
	n := tx.kept
	where := filepath.Join(tx.store.path, "tx", tx.ID, "backup", strconv.Itoa(n))
	err := tx.write(withPath(record{Op: op, N: n}, rel))
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
	return errors.Join(tx.write(record{Op: "done"}), tx.close())
}

func (tx *Tx) close() error {
	var errs []error
	for _, f := range []*os.File{tx.log, tx.backup} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

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

func withPath(r record, rel string) record {
	if utf8.ValidString(rel) {
		r.Path = rel
	} else {
		r.Bytes = []byte(rel)
	}
	return r
}
