// SPDX-License-Identifier: Apache-2.0

package faultpoint

import "golang.org/x/sys/unix"

// asking are the calls that ask a file system something, and are not in changing.
// Reads are left out: the Go runtime reads files of its own now and then.
var asking = map[uint64]bool{
	unix.SYS_OPENAT:     true,
	unix.SYS_OPENAT2:    true,
	unix.SYS_FSTAT:      true,
	fstatat:             true,
	unix.SYS_STATX:      true,
	unix.SYS_GETDENTS64: true,
	unix.SYS_READLINKAT: true,
	unix.SYS_FLISTXATTR: true,
	unix.SYS_FGETXATTR:  true,
}
