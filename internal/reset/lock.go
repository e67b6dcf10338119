// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process is making, or withdrawing, a request.
var ErrLocked = errors.New("another ovl-restore is changing the request")

// lockLimit is how long to wait for it: it writes a few small files.
const lockLimit = 10 * time.Second

// lockAll keeps others from changing the requests of these places, where they
// have any. What it locks is freed by unlock, or by the end of the process.
func lockAll(places []*Place) (unlock func(), err error) {
	var locked []*Place
	unlock = func() {
		for _, p := range locked {
			_ = unix.Flock(int(p.dir.Fd()), unix.LOCK_UN)
		}
	}
	limit := time.Now().Add(lockLimit)
	for _, p := range places {
		if p.dir == nil {
			continue
		}
		for {
			err := unix.Flock(int(p.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
				unlock()
				return nil, err
			}
			if time.Now().After(limit) {
				unlock()
				return nil, ErrLocked
			}
			time.Sleep(10 * time.Millisecond)
		}
		locked = append(locked, p)
	}
	return unlock, nil
}
