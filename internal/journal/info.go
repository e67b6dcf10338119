// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// State is how far a transaction is.
type State string

// The states. One that is open is in work, or was cut off: see Resume.
const (
	StateOpen   State = "open"
	StateDone   State = "done"
	StateUndone State = "undone" // all of it
)

// Info is what a store knows of a transaction.
type Info struct {
	ID string
	Intent
	Began   time.Time // by the clock of the device, which may have gone back since
	State   State
	Entries int   // what it did
	Bytes   int64 // the room that it takes
}

// Transactions lists the transactions, the newest first.
func (s *Store) Transactions() ([]Info, error) {
	all, err := openAt(s.dir, "tx", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the store %q: %w", s.path, err)
	}
	defer func() { _ = all.Close() }()
	ids, err := readIDs(all)
	if err != nil {
		return nil, fmt.Errorf("read the store %q: %w", s.path, err)
	}
	infos := make([]Info, 0, len(ids))
	for _, id := range ids {
		info, err := readInfo(all, id)
		if errors.Is(err, os.ErrNotExist) {
			continue // pruned since
		}
		if err != nil {
			return nil, fmt.Errorf("read the transaction %s in %q: %w", id, s.path, err)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Entry is one thing that a transaction did.
type Entry struct {
	Op     Op
	What   string // of OpNote
	Path   string // from the overlay's root
	Backup string // where an entry that was dropped is kept
}

// Entries lists what a transaction did, in that order. The error is
// os.ErrNotExist for one that is not there.
func (s *Store) Entries(id string) ([]Entry, error) {
	dir, err := s.openTx(id)
	if err != nil {
		return nil, fmt.Errorf("read the transaction %s in %q: %w", id, s.path, err)
	}
	defer func() { _ = dir.Close() }()
	log, err := readLog(dir)
	if err != nil {
		return nil, fmt.Errorf("read the transaction %s in %q: %w", id, s.path, err)
	}
	var entries []Entry
	for _, r := range log {
		if r.Op == OpBegin || r.Op == OpDone {
			continue
		}
		e := Entry{Op: r.Op, What: r.What, Path: r.rel()}
		if r.N > 0 {
			e.Backup = filepath.Join(s.path, "tx", id, "backup", strconv.Itoa(r.N))
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// openTx opens the directory of a transaction.
func (s *Store) openTx(id string) (*os.File, error) {
	if id == "" || strings.HasPrefix(id, ".") || strings.Contains(id, "/") {
		return nil, os.ErrNotExist
	}
	all, err := openAt(s.dir, "tx", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = all.Close() }()
	return openAt(all, id, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

func readInfo(all *os.File, id string) (Info, error) {
	dir, err := openAt(all, id, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = dir.Close() }()
	log, err := readLog(dir)
	if err != nil {
		return Info{}, err
	}
	info := Info{ID: id, State: StateOpen}
	for _, r := range log {
		switch r.Op {
		case OpBegin:
			info.Began = r.Time
			if r.Intent != nil {
				info.Intent = *r.Intent
			}
		case OpDone:
			info.State = StateDone
		default:
			info.Entries++
		}
	}
	info.Bytes, err = room("/proc/self/fd/" + strconv.Itoa(int(dir.Fd())))
	return info, err
}

// readIDs lists the transactions below tx/, the newest first.
func readIDs(all *os.File) ([]string, error) {
	dir, err := openAt(all, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	ids := slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, ".") })
	slices.SortFunc(ids, func(a, b string) int {
		if n := sequence(b) - sequence(a); n != 0 {
			return n
		}
		return strings.Compare(b, a)
	})
	return ids, err
}

// sequence is the number that an ID begins with. The first versions of this tool
// put the time in its place: those come before all that are counted.
func sequence(id string) int {
	number, _, _ := strings.Cut(id, "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return n
}
