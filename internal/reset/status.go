// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"context"
	"slices"
	"time"
)

// State is how far a reset is.
type State string

// The states; see the package's comment.
const (
	None      State = "none"
	Requested State = "requested"
	Decided   State = "decided" // begun and interrupted: the next Perform goes on
	Cleaning  State = "cleaning"
)

// Status is what there is to know about the resets of some overlays.
type Status struct {
	State   State
	Order   *Order    // what is requested, or was decided
	Last    *Order    // what was done last
	LastAt  time.Time // when; zero where it is not known
	Left    Amount    // what clean-up has still to remove
	Trim    bool      // and what is free is to be discarded
	Ignored []error   // what lies where a request would, and is none
}

// Look tells the state of the resets of these places. It changes nothing.
func Look(ctx context.Context, places []*Place) (s Status, err error) {
	s.State = None
	found, ignored, err := find(places)
	s.Ignored = ignored
	if err != nil {
		return s, err
	}
	for _, p := range places {
		if err := s.add(ctx, p); err != nil {
			return s, err
		}
	}
	for _, r := range found {
		if s.order(r); r.decided {
			break
		}
	}
	return s, nil
}

// LookEach tells it of each place by itself: a request is that of all of its
// members.
func LookEach(ctx context.Context, places []*Place) ([]Status, error) {
	found, _, err := find(places)
	if err != nil {
		return nil, err
	}
	all := make([]Status, len(places))
	for i, p := range places {
		all[i].State = None
		if err := all[i].add(ctx, p); err != nil {
			return nil, err
		}
		for _, r := range found {
			if slices.Contains(r.members, p) {
				all[i].order(r)
			}
		}
	}
	return all, nil
}

func (s *Status) order(r *standing) {
	s.Order = r.Order
	if s.State = Requested; r.decided {
		s.State = Decided
	}
}

// add adds what is in the directory of a place.
func (s *Status) add(ctx context.Context, p *Place) error {
	if p.dir == nil {
		return nil
	}
	left, err := measure(ctx, int(p.dir.Fd()), dirOld)
	if err != nil {
		return err
	}
	s.Left.Entries += left.Entries
	s.Left.Bytes += left.Bytes
	due, err := exists(int(p.dir.Fd()), fileTrim)
	if err != nil {
		return err
	}
	stores, gone, err := p.storesLeft(ctx)
	if err != nil {
		return err
	}
	s.Left.Entries += stores.Entries
	s.Left.Bytes += stores.Bytes
	s.Trim = s.Trim || due || gone
	if s.Left.Entries > 0 || s.Trim {
		s.State = Cleaning
	}
	if last, at := p.lastReset(); last != nil && (s.Last == nil || at.After(s.LastAt)) {
		s.Last, s.LastAt = last, at
	}
	return nil
}
