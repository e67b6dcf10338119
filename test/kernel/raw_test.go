// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	reqRestore    = 0x40104f01
	reqRestorable = 0x40104f02
	reqState      = 0xc0204f03
)

type pathArgs struct {
	ptr        uint64
	len, flags uint32
}

type stateArgs struct {
	ptr                                       uint64
	len, flags, state, stateFlags, mode, zero uint32
}

func isErrno(err error, errno unix.Errno) bool { return errors.Is(err, errno) }

func rawIoctl(f *os.File, req uint, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(req), uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

// rawPath issues one of the path ioctls with whatever bytes and numbers.
func rawPath(f *os.File, req uint, memory []byte, length, flags uint32) error {
	var pin runtime.Pinner
	pin.Pin(&memory[0])
	defer pin.Unpin()
	return rawIoctl(f, req, unsafe.Pointer(&pathArgs{uint64(uintptr(unsafe.Pointer(&memory[0]))), length, flags}))
}

func rawState(f *os.File, path string, flags, zero uint32) (stateArgs, error) {
	memory := append([]byte(path), 0)
	var pin runtime.Pinner
	pin.Pin(&memory[0])
	defer pin.Unpin()
	args := stateArgs{
		ptr: uint64(uintptr(unsafe.Pointer(&memory[0]))), len: uint32(len(path)), flags: flags, zero: zero,
		state: 99, stateFlags: 99, mode: 99,
	}
	err := rawIoctl(f, reqState, unsafe.Pointer(&args))
	return args, err
}

func setgroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0)
	if errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	return nil
}
