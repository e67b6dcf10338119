// SPDX-License-Identifier: Apache-2.0

//go:build arm || 386 || mips || mipsle || ppc

package overlay

import "golang.org/x/sys/unix"

// sysFstatat fills a unix.Stat_t as it is.
const sysFstatat = unix.SYS_FSTATAT64
