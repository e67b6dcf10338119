// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64 || riscv64 || ppc64 || ppc64le || s390x

package overlay

import "golang.org/x/sys/unix"

// sysFstatat fills a unix.Stat_t as it is.
const sysFstatat = unix.SYS_NEWFSTATAT
