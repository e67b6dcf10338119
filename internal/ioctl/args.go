// SPDX-License-Identifier: Apache-2.0

package ioctl

// pathArgs is the argument of OVL_IOC_RESTORE_LOWER and OVL_IOC_IS_RESTORABLE:
// 16 bytes on every architecture. The pointer is a u64, so that a 32-bit
// process and a 64-bit kernel agree.
type pathArgs struct {
	pathPtr uint64 // address of an absolute path, NUL behind it
	pathLen uint32 // its strlen
	flags   uint32
}

// stateArgs is the argument of OVL_IOC_UPPER_STATE: 32 bytes on every
// architecture; the kernel fills in state, stateFlags and mode.
type stateArgs struct {
	pathPtr    uint64
	pathLen    uint32
	flags      uint32 // must be 0
	state      uint32
	stateFlags uint32
	mode       uint32 // st_mode of the upper entry
	pad        uint32 // must be 0
}
