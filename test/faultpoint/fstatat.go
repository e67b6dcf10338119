// SPDX-License-Identifier: Apache-2.0

//go:build !386 && !arm

package faultpoint

import "golang.org/x/sys/unix"

const fstatat = unix.SYS_NEWFSTATAT
