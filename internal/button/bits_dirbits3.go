// SPDX-License-Identifier: Apache-2.0

//go:build mips || mipsle || mips64 || mips64le || ppc64 || ppc64le

package button

// MIPS and PowerPC have their own.
const (
	iocWrite = 4 << 29
	iocRead  = 2 << 29
)
