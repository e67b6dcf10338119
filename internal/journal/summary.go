// SPDX-License-Identifier: Apache-2.0

package journal

import "time"

// Summary is what a store holds.
type Summary struct {
	Path         string // of the store
	Transactions int
	Open         int   // of these, begun and not done: in work, or cut off
	Bytes        int64 // the room that all of them take
	Oldest       time.Time
	Newest       time.Time // when they began; zero where there is none
}

// Summary looks at what the store holds.
func (s *Store) Summary() (Summary, error) {
	sum := Summary{Path: s.path}
	infos, err := s.Transactions()
	for i := range infos {
		info := &infos[i]
		sum.Transactions++
		if info.State == StateOpen {
			sum.Open++
		}
		if began := info.Began; !began.IsZero() && (sum.Oldest.IsZero() || began.Before(sum.Oldest)) {
			sum.Oldest = began
		}
		if info.Began.After(sum.Newest) {
			sum.Newest = info.Began
		}
		sum.Bytes += info.Bytes
	}
	return sum, err
}
