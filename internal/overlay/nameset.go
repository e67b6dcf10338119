// SPDX-License-Identifier: Apache-2.0

package overlay

import "hash/maphash"

// nameSet is a set of names that may say yes to a name that it does not have,
// but never no to one that it has. It is 8 bytes a name.
type nameSet struct {
	slots []uint32 // 0: empty
	n     int
	seed  maphash.Seed
}

// reset empties the set.
func (s *nameSet) reset() {
	if s.slots == nil {
		s.seed = maphash.MakeSeed()
	}
	if len(s.slots) == 0 || len(s.slots) > 1<<12 { // a huge one is not kept
		s.slots = make([]uint32, 1<<8)
	} else {
		clear(s.slots)
	}
	s.n = 0
}

func (s *nameSet) print(name []byte) uint32 {
	return max(uint32(maphash.Bytes(s.seed, name)), 1)
}

// find returns the slot of a print, or the empty one where it would be.
func (s *nameSet) find(p uint32) *uint32 {
	mask := uint32(len(s.slots) - 1)
	for i := p & mask; ; i = (i + 1) & mask {
		if s.slots[i] == p || s.slots[i] == 0 {
			return &s.slots[i]
		}
	}
}

func (s *nameSet) add(name []byte) {
	if 2*(s.n+1) > len(s.slots) {
		old := s.slots
		s.slots = make([]uint32, 2*len(old))
		for _, p := range old {
			if p != 0 {
				*s.find(p) = p
			}
		}
	}
	slot := s.find(s.print(name))
	if *slot == 0 {
		s.n++
		*slot = s.print(name)
	}
}

func (s *nameSet) mayHave(name []byte) bool { return *s.find(s.print(name)) != 0 }
