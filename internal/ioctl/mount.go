// SPDX-License-Identifier: Apache-2.0

package ioctl

import (
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RestoreFlags is the flags word of OVL_IOC_RESTORE_LOWER.
type RestoreFlags uint32

// DiscardUpper (OVL_RESTORE_DISCARD_UPPER) also drops a real upper
// non-directory, in one step, when a lower entry lies under it. Kernels with
// the first version of the interface answer EINVAL.
const DiscardUpper RestoreFlags = 1 << 0

// Mount issues the calls on one overlay. The path of each call is absolute, as
// this process sees it, without a trailing slash; symbolic links in its parents
// are followed, its last component never is.
type Mount struct {
	dir *os.File
	// call is ioctl(2); tests put their own here.
	call func(fd, req uintptr, arg unsafe.Pointer) unix.Errno
}

// NewMount takes a directory of the overlay, by habit its mount point, opened
// O_RDONLY|O_DIRECTORY. The caller keeps dir open, and closes it.
func NewMount(dir *os.File) *Mount {
	return &Mount{dir: dir, call: ioctl}
}

// RestoreLower makes the lower entry at path visible again, by removing the
// whiteout that hides it. The error is an *Error with one of the errnos above.
// ENODATA means that the whiteout is gone and nothing lay under it.
func (m *Mount) RestoreLower(path string, flags RestoreFlags) error {
	return m.pathCall("OVL_IOC_RESTORE_LOWER", reqRestoreLower, path, uint32(flags))
}

// IsRestorable asks whether RestoreLower would succeed, and changes nothing.
// The answer is nil, or the *Error that RestoreLower would give.
func (m *Mount) IsRestorable(path string) error {
	return m.pathCall("OVL_IOC_IS_RESTORABLE", reqIsRestorable, path, 0)
}

// UpperState tells what the upper layer holds at path; the error is an *Error.
func (m *Mount) UpperState(path string) (UpperState, error) {
	const op = "OVL_IOC_UPPER_STATE"
	args := &stateArgs{}
	err := m.withPath(op, path, func(ptr uint64, length uint32) unix.Errno {
		args.pathPtr, args.pathLen = ptr, length
		return m.retry(reqUpperState, unsafe.Pointer(args))
	})
	if err != nil {
		return UpperState{}, err
	}
	return UpperState{State: State(args.state), Flags: StateFlags(args.stateFlags), Mode: args.mode}, nil
}

func (m *Mount) pathCall(op string, req uintptr, path string, flags uint32) error {
	return m.withPath(op, path, func(ptr uint64, length uint32) unix.Errno {
		args := &pathArgs{pathPtr: ptr, pathLen: length, flags: flags}
		return m.retry(req, unsafe.Pointer(args))
	})
}

// withPath lays path out in memory as the kernel wants it and keeps it there
// for the time of call: the kernel sees its address only as a number, which
// does not keep a Go object alive or in its place.
func (m *Mount) withPath(op, path string, call func(ptr uint64, length uint32) unix.Errno) error {
	if path == "" || strings.IndexByte(path, 0) >= 0 {
		return &Error{Op: op, Path: path, Errno: unix.EINVAL}
	}
	buf := append([]byte(path), 0)
	var pin runtime.Pinner
	pin.Pin(&buf[0])
	defer pin.Unpin()
	errno := call(uint64(uintptr(unsafe.Pointer(&buf[0]))), uint32(len(path)))
	runtime.KeepAlive(buf)
	if errno != 0 {
		return &Error{Op: op, Path: path, Errno: errno}
	}
	return nil
}

// retry issues one request, again after each EINTR: all three calls either
// have their whole effect or none.
func (m *Mount) retry(req uintptr, arg unsafe.Pointer) unix.Errno {
	errno := unix.EBADF
	conn, err := m.dir.SyscallConn()
	if err != nil {
		return errno
	}
	err = conn.Control(func(fd uintptr) {
		for {
			if errno = m.call(fd, req, arg); errno != unix.EINTR {
				return
			}
		}
	})
	if err != nil { // the directory was closed under us
		return unix.EBADF
	}
	if errno == unix.ENOSYS { // of QEMU's user emulation, for what it does not know
		return ErrNoIoctl
	}
	return errno
}

func ioctl(fd, req uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, req, uintptr(arg))
	return errno
}
