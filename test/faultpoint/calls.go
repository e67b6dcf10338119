// SPDX-License-Identifier: Apache-2.0

package faultpoint

import (
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syscallInfo is struct ptrace_syscall_info, as PTRACE_GET_SYSCALL_INFO fills it
// at the entry of a call. It is the same on every architecture.
type syscallInfo struct {
	Op      uint8
	_       [3]uint8
	Arch    uint32
	Pointer uint64
	Stack   uint64
	Number  uint64
	Args    [6]uint64
	_       [8]uint64 // room for what newer kernels add
}

const (
	getSyscallInfo = 0x420e
	opEntry        = 1
)

func callInfo(tid int) (*syscallInfo, error) {
	var info syscallInfo
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return &info, nil
}

// kind says which argument of a call tells what it is about.
type kind uint8

const (
	byPath    kind = iota // the second argument is a path, below the first
	byPath0               // the first argument is a path
	byPath3               // the fourth: a new name, below the third
	byFD                  // the first is a descriptor
	byOpen                // byPath, if the flags in the third say that it changes something
	byOpenat2             // the same with flags in a structure
	byNothing
)

// changing are the calls that change what is on a disk, or a mount. The rest of
// them is in the files of the architectures.
var changing = map[uint64]struct {
	name string
	kind kind
}{
	unix.SYS_RENAMEAT2:       {"renameat2", byPath},
	unix.SYS_LINKAT:          {"linkat", byPath3},
	unix.SYS_UNLINKAT:        {"unlinkat", byPath},
	unix.SYS_MKDIRAT:         {"mkdirat", byPath},
	unix.SYS_MKNODAT:         {"mknodat", byPath},
	unix.SYS_SYMLINKAT:       {"symlinkat", byNothing},
	unix.SYS_OPENAT:          {"openat", byOpen},
	unix.SYS_OPENAT2:         {"openat2", byOpenat2},
	unix.SYS_WRITE:           {"write", byFD},
	unix.SYS_WRITEV:          {"writev", byFD},
	unix.SYS_PWRITE64:        {"pwrite64", byFD},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", byNothing},
	unix.SYS_FALLOCATE:       {"fallocate", byFD},
	unix.SYS_FTRUNCATE:       {"ftruncate", byFD},
	unix.SYS_FSYNC:           {"fsync", byFD},
	unix.SYS_FDATASYNC:       {"fdatasync", byFD},
	unix.SYS_SYNCFS:          {"syncfs", byFD},
	unix.SYS_SETXATTR:        {"setxattr", byPath0},
	unix.SYS_LSETXATTR:       {"lsetxattr", byPath0},
	unix.SYS_FSETXATTR:       {"fsetxattr", byFD},
	unix.SYS_REMOVEXATTR:     {"removexattr", byPath0},
	unix.SYS_LREMOVEXATTR:    {"lremovexattr", byPath0},
	unix.SYS_FREMOVEXATTR:    {"fremovexattr", byFD},
	unix.SYS_FCHMOD:          {"fchmod", byFD},
	unix.SYS_FCHMODAT:        {"fchmodat", byPath},
	unix.SYS_FCHMODAT2:       {"fchmodat2", byPath},
	unix.SYS_FCHOWN:          {"fchown", byFD},
	unix.SYS_FCHOWNAT:        {"fchownat", byPath},
	unix.SYS_UTIMENSAT:       {"utimensat", byPath},
	unix.SYS_IOCTL:           {"ioctl", byFD},
	unix.SYS_MOUNT:           {"mount", byNothing},
	unix.SYS_UMOUNT2:         {"umount2", byPath0},
	unix.SYS_MOVE_MOUNT:      {"move_mount", byNothing},
	unix.SYS_FSCONFIG:        {"fsconfig", byNothing},
}

// changes names a call that changes something; "" for any other.
func (t *tracer) changes(tid int, info *syscallInfo) string {
	call, known := changing[info.Number]
	if !known {
		if call, known = changingHere[info.Number]; !known {
			return ""
		}
	}
	path := ""
	switch call.kind {
	case byPath0:
		path = t.text(tid, info.Args[0])
	case byPath:
		path = t.text(tid, info.Args[1])
	case byPath3:
		path = t.text(tid, info.Args[3])
	case byOpen:
		if !writes(info.Args[2]) {
			return ""
		}
		path = t.text(tid, info.Args[1])
	case byOpenat2:
		var flags [8]byte
		if !t.peek(tid, info.Args[2], flags[:]) || !writes(*(*uint64)(unsafe.Pointer(&flags[0]))) {
			return ""
		}
		path = t.text(tid, info.Args[1])
	case byFD:
		path, known = t.file(info.Args[0])
		if !known {
			return ""
		}
	case byNothing:
	}
	return strings.TrimSpace(call.name + " " + path)
}

// writes says whether the flags of an open change something, or let the program
// do so.
func writes(flags uint64) bool {
	return flags&(unix.O_CREAT|unix.O_TRUNC) != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE
}

// file names a descriptor that is a file or a directory: what goes into pipes,
// event descriptors and the program's output is nothing that a crash leaves.
func (t *tracer) file(fd uint64) (string, bool) {
	link := "/proc/" + strconv.Itoa(t.pid) + "/fd/" + strconv.Itoa(int(int32(fd)))
	path, err := os.Readlink(link)
	if err != nil || !strings.HasPrefix(path, "/") {
		return "", false
	}
	var st unix.Stat_t
	if unix.Stat(link, &st) != nil || st.Ino == t.output {
		return "", false
	}
	if m := st.Mode & unix.S_IFMT; m != unix.S_IFREG && m != unix.S_IFDIR {
		return "", false
	}
	return path, true
}

// text reads a string of the program, as far as it tells something.
func (t *tracer) text(tid int, at uint64) string {
	var buf [128]byte
	n := 0
	for n < len(buf) && t.peek(tid, at+uint64(n), buf[n:n+1]) && buf[n] != 0 {
		n++
	}
	return strconv.QuoteToASCII(string(buf[:n]))
}

func (t *tracer) peek(tid int, at uint64, into []byte) bool {
	n, err := unix.PtracePeekData(tid, uintptr(at), into)
	return err == nil && n == len(into)
}
