// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64 && !riscv64 && !ppc64 && !ppc64le && !s390x && !arm && !386 && !mips && !mipsle && !ppc

package overlay

// sysFstatat: no call fills a unix.Stat_t as it is.
const sysFstatat = 0
