// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || 386 || arm

package faultpoint

import "golang.org/x/sys/unix"

// changingHere are the calls that newer architectures do not have.
var changingHere = map[uint64]struct {
	name string
	kind kind
}{
	unix.SYS_RENAME:   {"rename", byPath0},
	unix.SYS_RENAMEAT: {"renameat", byPath},
	unix.SYS_LINK:     {"link", byPath0},
	unix.SYS_UNLINK:   {"unlink", byPath0},
	unix.SYS_MKDIR:    {"mkdir", byPath0},
	unix.SYS_RMDIR:    {"rmdir", byPath0},
	unix.SYS_MKNOD:    {"mknod", byPath0},
	unix.SYS_SYMLINK:  {"symlink", byPath0},
	unix.SYS_TRUNCATE: {"truncate", byPath0},
	unix.SYS_CHMOD:    {"chmod", byPath0},
	unix.SYS_CHOWN:    {"chown", byPath0},
	unix.SYS_LCHOWN:   {"lchown", byPath0},
}
