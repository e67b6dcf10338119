// SPDX-License-Identifier: Apache-2.0

// Package overlay knows what an overlayfs is: it finds the mounts of this mount
// name space, reaches and proves their layers, reads what the layers hold under
// a name, and brings lower entries back on a running system.
//
// The words are those of the kernel's Documentation/filesystems/overlayfs.rst:
// lower, upper, work, merged, whiteout, opaque, redirect, metacopy, origin.
//
// Two rules hold throughout. The lower is never read through a path that the
// overlay itself may cover; it is read through a private clone of the mount
// that holds it. And nothing is written to a directory that is only believed to
// be the upper; it is proven first, by an entry made through the overlay.
package overlay
