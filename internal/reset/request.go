// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DecidedError says that a reset has begun, and can only be gone on with.
type DecidedError struct{ *Order }

func (e *DecidedError) Error() string {
	return "a reset has begun, and was interrupted: it goes on at the next boot"
}

// errNotPermitted: who may not mount may not reset either.
var errNotPermitted = fmt.Errorf("a reset takes CAP_SYS_ADMIN: %w", unix.EPERM)

// mayReset asks for the capability to mount, in the name space of this process.
func mayReset() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("ask for this process's capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return errNotPermitted
	}
	return nil
}

// reserves is how many files of reserveSize a request puts by for Perform, which
// has to make some directories, on a disk that may be full by then.
const (
	reserves      = 4
	reserveSize   = 32 << 10
	reservePrefix = "reserve-"
)

// Request asks for a reset of all places together, at the next Perform. When it
// returns, the request is on disk. A request that stands already is replaced. It
// fills in the order's ID, Time and Mounts.
func Request(places []*Place, order *Order) error {
	if err := mayReset(); err != nil {
		return err
	}
	if len(places) == 0 {
		return errNoOverlay
	}
	for _, p := range places {
		if err := p.make(); err != nil {
			return fmt.Errorf("make a place for the request: %w", err)
		}
	}
	unlock, err := lockAll(places)
	if err != nil {
		return err
	}
	defer unlock()
	found, _, err := find(places)
	if err != nil {
		return err
	}
	at := places[0]
	for _, s := range found {
		if s.decided {
			return &DecidedError{s.Order}
		}
		at = s.at
	}
	order.ID, order.Time, order.Mounts = newID(), time.Now(), nil
	for _, p := range places {
		order.Mounts = append(order.Mounts, p.Mount)
		if err := p.join(order.ID); err != nil {
			return fmt.Errorf("prepare the reset of %q: %w", p.Mount, err)
		}
	}
	if err := writeFile(at.dir, fileRequest, order.encode()); err != nil {
		// Who is told that it failed must not be surprised by a reset.
		_ = unix.Unlinkat(int(at.dir.Fd()), fileRequest, 0)
		return fmt.Errorf("write the request %q: %w", at.path(fileRequest), err)
	}
	for _, s := range found {
		if s.at != at {
			if err := s.withdraw(); err != nil {
				return err
			}
		}
		leave(s.members, s.ID)
	}
	return nil
}

var errNoOverlay = errors.New("there is no overlay to reset")

// join makes the place a member of a reset.
func (p *Place) join(id string) error {
	for n := range reserves {
		if err := p.reserve(reservePrefix + strconv.Itoa(n)); err != nil {
			return fmt.Errorf("reserve room for the reset: %w", err)
		}
	}
	f, err := openAt(int(p.dir.Fd()), memberPrefix+id, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), p.dir.Sync())
}

// reserve writes a file with something in it, so that no file system makes a
// hole of it.
func (p *Place) reserve(name string) error {
	f, err := openAt(int(p.dir.Fd()), name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(strings.Repeat("reserved", reserveSize/8)))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// release gives the reserved room back, and says whether there was any.
func (p *Place) release() (freed bool) {
	for n := range reserves {
		freed = unix.Unlinkat(int(p.dir.Fd()), reservePrefix+strconv.Itoa(n), 0) == nil || freed
	}
	if freed {
		_ = unix.Syncfs(int(p.dir.Fd())) // only then the blocks are free
	}
	return freed
}

// leave removes memberships that no request names any more. What is left of them
// means nothing.
func leave(members []*Place, id string) {
	for _, p := range members {
		_ = unix.Unlinkat(int(p.dir.Fd()), memberPrefix+id, 0)
	}
}

// withdraw removes a request, durably.
func (s *standing) withdraw() error {
	if err := unlinkAt(int(s.at.dir.Fd()), fileRequest, 0); err != nil {
		return fmt.Errorf("remove the request: %w", err)
	}
	if err := s.at.dir.Sync(); err != nil {
		return fmt.Errorf("remove the request: %w", err)
	}
	leave(s.members, s.ID)
	return nil
}

// Cancel withdraws the requests of these places, and returns them. The error is a
// DecidedError where a reset has begun.
func Cancel(places []*Place) ([]*Order, error) {
	if err := mayReset(); err != nil {
		return nil, err
	}
	unlock, err := lockAll(places)
	if err != nil {
		return nil, err
	}
	defer unlock()
	found, ignored, err := find(places)
	if err != nil {
		return nil, err
	}
	var orders []*Order
	for _, s := range found {
		if s.decided {
			return orders, &DecidedError{s.Order}
		}
		if err := s.withdraw(); err != nil {
			return orders, err
		}
		for _, p := range s.members {
			p.release()
		}
		orders = append(orders, s.Order)
	}
	if len(orders) == 0 && len(ignored) > 0 {
		return nil, errors.Join(ignored...)
	}
	return orders, nil
}

// lastReset is the order that was carried out last in a place, and when; nil
// where there is none.
func (p *Place) lastReset() (*Order, time.Time) {
	if p.dir == nil {
		return nil, time.Time{}
	}
	order, err := p.readOrder(fileLast)
	if err != nil || order == nil {
		return nil, time.Time{}
	}
	st, err := statAt(int(p.dir.Fd()), fileLast)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return order, time.Time{}
	}
	return order, time.Unix(st.Mtim.Unix())
}
