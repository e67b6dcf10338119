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
	// StateRolledBack: it was cut off, and Resume undid what it had done.
	StateRolledBack State = "rolled-back"
)

// Info is what a store knows of a transaction.
type Info struct {
	ID string
	Intent
	Began   time.Time // by the clock of the device, which may have gone back since
	State   State
	Entries int   // what it did
	Undone  int   // how much of that was undone
	Bytes   int64 // the room that it takes
}

// Transactions lists the transactions, the newest first.
func (s *Store) Transactions() ([]Info, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(ids))
	undone := map[string]map[int]bool{}
	for _, id := range ids {
		l, err := s.openLogged(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // pruned since
		}
		var info Info
		if err == nil {
			info = l.info(id)
			l.undoes(undone) // those that undo a transaction are newer than it
			info.Undone = len(undone[id])
			if info.State == StateDone && info.Undone > 0 && !l.outstanding(undone[id]) {
				info.State = StateUndone
			}
			info.Bytes, err = room(l.dir, ".")
			_ = l.close() // it was only read
		}
		if err != nil {
			return nil, fmt.Errorf("read the transaction %s in %q: %w", id, s.path, err)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// outstanding says whether there is something left to undo. What was logged, and
// then could not be dropped, has no backup.
func (l *logged) outstanding(undone map[int]bool) bool {
	for i, r := range l.lines {
		switch {
		case !r.Op.isStep() || undone[i]:
		case r.Op == OpLink, r.Op == OpMove, r.Op == OpCopy:
			if _, kept := l.kept(r.N); kept {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// kept is the backup of that number.
func (l *logged) kept(n int) (st unix.Stat_t, kept bool) {
	if l.backup == nil {
		return st, false
	}
	st, err := lstatAt(l.backup, strconv.Itoa(n))
	return st, err == nil
}

// ids lists the transactions, the newest first.
func (s *Store) ids() ([]string, error) {
	all, err := openAt(s.dir, "tx", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	if err == nil {
		ids, err = readIDs(all)
		_ = all.Close() // it was only read
	}
	if err != nil {
		return nil, fmt.Errorf("read the store %q: %w", s.path, err)
	}
	return ids, nil
}

// Entry is one thing that a transaction did.
type Entry struct {
	Op     Op
	What   string // of OpNote
	Path   string // from the overlay's root
	Backup string // where an entry that was dropped is kept
	Undone bool
}

// Entries lists what a transaction did, in that order. The error is
// os.ErrNotExist for one that is not there.
func (s *Store) Entries(id string) ([]Entry, error) {
	l, err := s.openLogged(id)
	if err != nil {
		return nil, fmt.Errorf("read the transaction %s in %q: %w", id, s.path, err)
	}
	defer func() { _ = l.close() }()
	undone, err := s.undoneBy()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for i, r := range l.lines {
		if !r.Op.isStep() {
			continue
		}
		e := Entry{Op: r.Op, What: r.What, Path: r.rel(), Undone: undone[id][i]}
		if r.N > 0 && r.Op != OpPut {
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

// info is what the log says.
func (l *logged) info(id string) Info {
	info := Info{ID: id, State: StateOpen}
	for _, r := range l.lines {
		switch {
		case r.Op == OpBegin:
			info.Began = r.Time
			if r.Intent != nil {
				info.Intent = *r.Intent
			}
		case r.Op == OpDone:
			info.State = StateDone
		case r.Op == OpBack:
			info.State = StateRolledBack
		case r.Op.isStep():
			info.Entries++
		}
	}
	return info
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
	for i, id := range ids {
		ids[i] = fmt.Sprintf("%020d/%s", sequence(id), id)
	}
	slices.Sort(ids)
	newest := make([]string, len(ids))
	for i, id := range ids {
		_, newest[len(ids)-1-i], _ = strings.Cut(id, "/")
	}
	return newest, err
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
