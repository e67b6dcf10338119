// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits say how much is kept; 0 means no limit.
type Limits struct {
	Count int
	Age   time.Duration
	Bytes int64
}

// prunedPrefix begins the names of transactions that are on their way out.
const prunedPrefix = ".pruned-"

// noClock is a time that no device has that knows the time.
var noClock = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Prune removes transactions, the oldest first, until the rest is within the
// limits. The newest one always stays, and so do those that are open, those that
// keep says are still needed, and the undos of what stays. It returns those that
// it removed. Cut off, it goes on with the next call.
func (s *Store) Prune(limits Limits, keep func(*Info) bool) ([]Info, error) {
	if s.lock == nil {
		return nil, ErrNotLocked
	}
	all, err := openAt(s.dir, "tx", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the store %q: %w", s.path, err)
	}
	defer func() { _ = all.Close() }()
	if err := removePruned(all); err != nil {
		return nil, fmt.Errorf("go on with pruning the store %q: %w", s.path, err)
	}
	infos, err := s.Transactions()
	if err != nil {
		return nil, err
	}
	over := overLimits(infos, limits, keep, time.Now())
	for i := range over {
		id := over[i].ID
		err := unix.Renameat(int(all.Fd()), id, int(all.Fd()), prunedPrefix+id)
		if err == nil {
			err = all.Sync()
		}
		if err == nil {
			err = removeTree(all, prunedPrefix+id)
		}
		if err != nil {
			return over[:i], fmt.Errorf("prune the transaction %s in %q: %w", id, s.path, err)
		}
	}
	return over, nil
}

// overLimits chooses what has to go, the oldest first.
func overLimits(infos []Info, limits Limits, keep func(*Info) bool, now time.Time) (over []Info) {
	count, bytes := len(infos), int64(0)
	for i := range infos {
		bytes += infos[i].Bytes
	}
	stays := map[string]bool{}
	for i := len(infos) - 1; i > 0; i-- { // the newest is the first
		info := &infos[i]
		age := now.Sub(info.Began)
		// A device without a battery may have begun it in 1970.
		tooOld := limits.Age > 0 && age > limits.Age && info.Began.After(noClock)
		switch {
		case info.State == StateOpen, stays[info.Undoes], keep != nil && keep(info):
			stays[info.ID] = true
		case tooOld, limits.Count > 0 && count > limits.Count, limits.Bytes > 0 && bytes > limits.Bytes:
			over = append(over, *info)
			count--
			bytes -= info.Bytes
		default:
			stays[info.ID] = true
		}
	}
	return over
}

// removePruned removes what an earlier call did not come to.
func removePruned(all *os.File) error {
	names, err := rereadNames(all)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, prunedPrefix) {
			if err := removeTree(all, name); err != nil {
				return err
			}
		}
	}
	return nil
}
