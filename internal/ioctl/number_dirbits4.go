// SPDX-License-Identifier: Apache-2.0

//go:build linux && (mips || mipsle || mips64 || mips64le || ppc64 || ppc64le)

package ioctl

// MIPS and PowerPC have their own encoding of the direction bits
// (arch/*/include/uapi/asm/ioctl.h): _IOC_WRITE is 4 there, in three bits.
const (
	reqRestoreLower = 0x80104f01
	reqIsRestorable = 0x80104f02
	reqUpperState   = 0xc0204f03
)
