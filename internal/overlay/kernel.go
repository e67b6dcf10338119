// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// kernel is the kernel's interface; tests put old kernels there.
type kernel interface {
	RestoreLower(path string, flags ioctl.RestoreFlags) error
	IsRestorable(path string) error
	UpperState(path string) (ioctl.UpperState, error)
}

// kernelContract is what the running kernel's errnos mean.
type kernelContract int

const (
	contractUnknown kernelContract = iota
	// contractNone: no such ioctl.
	contractNone
	// contractFirst: kernels in the field that answer ENOENT where there is no
	// whiteout and EINVAL where there is a real upper entry, and know no flags.
	// One early version answers ENOENT for whiteouts as well.
	contractFirst
	// contractCurrent: as documented in package ioctl.
	contractCurrent
)

// askKernel finds out, once, what this kernel's ioctl means: a restore of a name
// that does not exist changes nothing, and each version refuses it differently.
// (ENOTTY alone tells whether the ioctl is there; there is no version to ask.)
func (o *Overlay) askKernel() kernelContract {
	if o.contract != contractUnknown {
		return o.contract
	}
	name := procPath(o.fd()) + "/" + tempName()
	err := o.kernel.RestoreLower(name, 0)
	switch {
	case errors.Is(err, ioctl.ErrNoIoctl):
		o.contract = contractNone
	case errors.Is(err, unix.ENOENT):
		o.contract = contractFirst
	default: // EEXIST; or EROFS and EPERM, which both contracts share
		o.contract = contractCurrent
	}
	o.trace("ask the kernel for the ioctl", o.Mount.Point, err)
	return o.contract
}
