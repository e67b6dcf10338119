// SPDX-License-Identifier: Apache-2.0

// Package ioctl speaks the kernel interface of overlayfs that brings
// lower-layer entries back: OVL_IOC_RESTORE_LOWER, OVL_IOC_IS_RESTORABLE and
// OVL_IOC_UPPER_STATE. It knows numbers, argument layouts and errnos, and
// nothing of layers, policies or fallbacks.
//
// The interface is documented with the kernel patch that adds it, in
// yocto/meta-ovl-restore/recipes-kernel/linux/files.
package ioctl
