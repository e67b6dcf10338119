// SPDX-License-Identifier: Apache-2.0

//go:build !(mips || mipsle || mips64 || mips64le || ppc64 || ppc64le)

package button

// The directions of _IOC in include/uapi/asm-generic/ioctl.h.
const (
	iocWrite = 1 << 30
	iocRead  = 2 << 30
)
