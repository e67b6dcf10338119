// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Resumed is a transaction that was cut off, and what was done about it.
type Resumed struct {
	Info
	// Results are the steps that were rolled back. One that failed with a
	// *ChangedError, for somebody was faster, stays done; Undo still knows of it.
	Results []Result
}

// Interrupted says whether the store has transactions that a crash cut off, or
// that somebody else is at work on.
func (s *Store) Interrupted() (bool, error) {
	ids, err := s.ids()
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		open, err := s.isOpen(id)
		if open || err != nil {
			return open, err
		}
	}
	return false, nil
}

// isOpen looks at the end of a log only.
func (s *Store) isOpen(id string) (bool, error) {
	dir, err := s.openTx(id)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return false, nil // pruned since
		}
		return false, err
	}
	defer func() { _ = dir.Close() }()
	f, err := openAt(dir, "log.jsonl", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	end, err := f.Seek(0, 2)
	if err != nil {
		return false, err
	}
	tail := make([]byte, min(end, 256)) // the last line has no path
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil {
		return false, err
	}
	if len(tail) == 0 || tail[len(tail)-1] != '\n' {
		return true, nil
	}
	tail = tail[:len(tail)-1]
	var last record
	if json.Unmarshal(tail[bytes.LastIndexByte(tail, '\n')+1:], &last) != nil {
		return true, nil
	}
	return last.Op != OpDone && last.Op != OpBack, nil
}

// Resume rolls back the transactions that a crash, or the end of the power, cut
// off: what they dropped comes back, what they made goes into their backup, and
// then they count as never made. It changes nothing where there is none. Call it after Open and before anything is looked at to be changed.
func (s *Store) Resume(ctx context.Context, site *overlay.Site) ([]Resumed, error) {
	if s.lock == nil {
		return nil, ErrNotLocked
	}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	if err := site.Tidy(); err != nil {
		return nil, fmt.Errorf("remove what a crash has left: %w", err)
	}
	if s.isElsewhere() {
		if err := s.removeAside(); err != nil {
			return nil, err
		}
	}
	var all []Resumed
	for _, id := range ids { // the newest first: it was built on the others
		open, err := s.isOpen(id)
		if err != nil {
			return all, err
		}
		if !open {
			continue
		}
		if len(all) == 0 {
			if err := site.Prove(); err != nil {
				return nil, err
			}
		}
		r, err := s.rollBack(ctx, site, id)
		if err != nil {
			return all, fmt.Errorf("roll back the transaction %s in %q: %w", id, s.path, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func (s *Store) rollBack(ctx context.Context, site *overlay.Site, id string) (done Resumed, err error) {
	l, err := s.openLogged(id)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	done.Info = l.info(id)
	if !l.has(OpBegin) || l.backup == nil { // nothing can have been done yet
		return done, s.forget(id)
	}
	v := &inverter{store: s, site: site, of: l}
	done.Results = v.run(ctx, selected{})
	end := OpBack
	for _, r := range done.Results {
		if errors.As(r.Err, new(*ChangedError)) {
			end = OpDone
		} else if r.Err != nil {
			return done, fmt.Errorf("%s: %w", strconv.Quote(r.Path), r.Err)
		}
	}
	// Also what an earlier run put back, before it was cut off itself.
	var rels []string
	for i := range l.lines {
		if l.lines[i].Op.isStep() {
			rels = append(rels, l.lines[i].rel())
		}
	}
	settle(site, rels, done.Results)
	return done, l.end(end)
}

// end adds a last line.
func (l *logged) end(op Op) error {
	f, err := openAt(l.dir, "log.jsonl", unix.O_RDWR|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	data, err := os.ReadFile(procPath(l.dir, "log.jsonl"))
	if err != nil {
		return err
	}
	whole := int64(bytes.LastIndexByte(data, '\n') + 1)
	if err := f.Truncate(whole); err != nil {
		return err
	}
	line, err := json.Marshal(record{Op: op, Time: time.Now().UTC()})
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return errors.Join(err, f.Truncate(whole))
	}
	return f.Sync()
}

// forget removes a transaction that has done nothing.
func (s *Store) forget(id string) error {
	all, err := openAt(s.dir, "tx", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = all.Close() }()
	return removeTree(all, id)
}
