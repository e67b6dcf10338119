// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"strings"

	"golang.org/x/sys/unix"
)

// mountFlagOf and superFlagOf are mountinfo's words for the flags of mount(2)
// that MS_REMOUNT has to repeat. Access times are left out: the kernel keeps
// them when none of their flags is given.
var (
	mountFlagOf = map[string]uintptr{
		"nosuid":      unix.MS_NOSUID,
		"nodev":       unix.MS_NODEV,
		"noexec":      unix.MS_NOEXEC,
		"nosymfollow": unix.MS_NOSYMFOLLOW,
	}
	superFlagOf = map[string]uintptr{
		"sync":     unix.MS_SYNCHRONOUS,
		"dirsync":  unix.MS_DIRSYNC,
		"mand":     unix.MS_MANDLOCK,
		"lazytime": unix.MS_LAZYTIME,
	}
)

// remountFlags are the flags to remount with so that no option changes, from
// the mount's and the file system's options. A read-only mount has none: it
// would make the file system read-only too.
func remountFlags(mount, super string) (uintptr, error) {
	flags := uintptr(unix.MS_REMOUNT)
	for _, set := range []struct {
		options string
		flagOf  map[string]uintptr
	}{{mount, mountFlagOf}, {super, superFlagOf}} {
		for word := range strings.SplitSeq(set.options, ",") {
			if word == "ro" {
				return 0, unix.EROFS
			}
			flags |= set.flagOf[word]
		}
	}
	return flags, nil
}
