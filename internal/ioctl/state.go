// SPDX-License-Identifier: Apache-2.0

package ioctl

import "strconv"

// State says what the upper layer holds under a name.
type State uint32

// The states of OVL_IOC_UPPER_STATE.
const (
	StateNone     State = 0 // no entry in the upper
	StateWhiteout State = 1 // a whiteout hides what lies below
	StateUpper    State = 2 // a real entry
)

// String gives the word that the command line prints: none, whiteout, upper.
func (s State) String() string {
	switch s {
	case StateNone:
		return "none"
	case StateWhiteout:
		return "whiteout"
	case StateUpper:
		return "upper"
	}
	return "state(" + strconv.FormatUint(uint64(s), 10) + ")"
}

// StateFlags qualify a State.
type StateFlags uint32

// The flags of OVL_IOC_UPPER_STATE.
const (
	FlagOpaque     StateFlags = 1 << 0 // the entry is an opaque directory
	FlagNoLowerDir StateFlags = 1 << 1 // no lower directory under the parent
)

// UpperState is the answer of OVL_IOC_UPPER_STATE.
type UpperState struct {
	State State
	Flags StateFlags
	Mode  uint32 // st_mode of the upper entry, 0 where there is none
}
