// SPDX-License-Identifier: Apache-2.0

//go:build linux && !(mips || mipsle || mips64 || mips64le || ppc64 || ppc64le)

package ioctl

// The requests, as _IOW('O', 1, …), _IOW('O', 2, …) and _IOWR('O', 3, …)
// encode on most architectures.
const (
	reqRestoreLower = 0x40104f01
	reqIsRestorable = 0x40104f02
	reqUpperState   = 0xc0204f03
)
