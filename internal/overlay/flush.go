// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"

	"golang.org/x/sys/unix"
)

// flush makes the overlay forget what it has cached about names, so that it
// looks at the upper again. Every dentry that nobody uses goes; no mount option
// changes. It needs CAP_SYS_ADMIN over the overlay.
func (o *Overlay) flush() error {
	err := reconfigure(o.fd())
	if errors.Is(err, unix.ENOSYS) {
		err = o.remount()
	}
	if err != nil {
		return &FlushError{Err: err}
	}
	return nil
}

// reconfigure asks for a reconfiguration that changes nothing, by the mount
// interface of Linux 5.2: unlike mount(2), it does not have to repeat the
// present flags, which may have changed since they were read.
func reconfigure(dirfd int) error {
	fs, err := unix.Fspick(dirfd, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH|unix.FSPICK_NO_AUTOMOUNT)
	if err != nil {
		return err
	}
	defer closeFD(fs)
	return unix.FsconfigReconfigure(fs)
}

// remount is the same for older kernels.
func (o *Overlay) remount() error {
	table, err := readMountTable()
	if err != nil {
		return err
	}
	info := table.byID(o.Mount.ID)
	if info == nil {
		return errUnlistedMount
	}
	flags, err := remountFlags(info.Options, info.VFSOptions)
	if err != nil {
		return err
	}
	return unix.Mount("", procPath(o.fd()), "", flags, "")
}
