// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

func TestArguments(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "d/f", "file")
	o.start()
	o.remove("f")
	f := []byte(o.merged("f") + "\x00")
	length := uint32(len(f) - 1)

	for _, req := range []uint{reqRestore, reqRestorable} {
		bad := func(what, memory string, length, flags uint32, errno unix.Errno) {
			t.Helper()
			if err := expect(what, rawPath(o.dir, req, []byte(memory+"\x00"), length, flags), errno); err != nil {
				t.Errorf("ioctl %#x: %v", req, err)
			}
			o.wantWhiteout("f", true)
		}
		path := func(what, path string, errno unix.Errno) {
			t.Helper()
			bad(what, path, uint32(len(path)), 0, errno)
		}
		want(t, rawIoctl(o.dir, req, nil), unix.EFAULT)
		want(t, rawIoctl(o.dir, req, unsafe.Pointer(&pathArgs{8, length, 0})), unix.EFAULT)
		bad("unknown flag", string(f[:length]), length, 1<<1, unix.EINVAL)
		bad("unknown high flag", string(f[:length]), length, 1<<31, unix.EINVAL)
		bad("flag before length", string(f[:length]), 0, 1<<1, unix.EINVAL)
		bad("length 0", string(f[:length]), 0, 0, unix.EINVAL)
		bad("length too small", string(f[:length]), length-1, 0, unix.EINVAL)
		bad("NUL inside", string(f[:length])+"\x00x", length+2, 0, unix.EINVAL)
		bad("length too large", string(f[:length])+"\x00\x00", length+1, 0, unix.EINVAL)
		bad("longer than PATH_MAX", "/"+strings.Repeat("x", 5000), 4096, 0, unix.ENAMETOOLONG)
		path("relative", "f", unix.EINVAL)
		path("trailing slash", o.merged("f")+"/", unix.EINVAL)
		path("only a slash", "/", unix.EINVAL)
		path("dot", o.Merged+"/.", unix.EINVAL)
		path("dot dot", o.Merged+"/d/..", unix.EINVAL)
		path("no parent", o.merged("none/f"), unix.ENOENT)
		path("parent is a file", o.merged("file/f"), unix.ENOTDIR)
		path("the mount point", o.Merged, unix.EXDEV)
		path("a layer", o.lower("f"), unix.EXDEV)
		path("long name", o.merged(strings.Repeat("x", 256)), unix.ENAMETOOLONG)
		path("long name where there is no upper", o.merged("d/"+strings.Repeat("x", 256)), unix.ENAMETOOLONG)
		path("longest name", o.merged(strings.Repeat("x", 255)), unix.EEXIST)
		path("nothing there", o.merged("nothing"), unix.EEXIST)
	}
	want(t, rawPath(o.dir, reqRestorable, f, length, 1), unix.EINVAL)
	want(t, rawIoctl(o.dir, 0x40104f04, nil), unix.ENOTTY)
	want(t, rawIoctl(o.dir, 0x80104f02, nil), unix.ENOTTY)

	_, err := rawState(o.dir, o.merged("d/"+strings.Repeat("x", 256)), 0, 0)
	want(t, err, unix.ENAMETOOLONG)
	_, err = rawState(o.dir, o.merged("f"), 1, 0)
	want(t, err, unix.EINVAL)
	_, err = rawState(o.dir, o.merged("f"), 0, 1)
	want(t, err, unix.EINVAL)
	want(t, rawIoctl(o.dir, reqState, nil), unix.EFAULT)
	args, err := rawState(o.dir, o.merged("f"), 0, 0)
	if err != nil || args.state != 1 || args.stateFlags != 0 || args.mode != unix.S_IFCHR {
		t.Errorf("state of a whiteout: %+v, %v", args, err)
	}
	args, err = rawState(o.dir, o.merged("file"), 0, 0)
	if err != nil || args.state != 0 || args.stateFlags != 0 || args.mode != 0 {
		t.Errorf("state of a lower file: %+v, %v", args, err)
	}

	// Not the fd's directory, but the path says where; doubled slashes are fine.
	sub, err := os.Open(o.merged("d"))
	o.must(err)
	defer sub.Close()
	o.must(rawPath(sub, reqRestore, []byte(filepath.Dir(o.merged("f"))+"//f\x00"), length+1, 0))
	o.wantLower("f")

	file := o.openFile("f", os.O_RDONLY)
	want(t, rawPath(file, reqRestore, f, length, 0), unix.ENOTTY)
	path := o.openFile("", unix.O_PATH)
	want(t, rawPath(path, reqRestore, f, length, 0), unix.EBADF)
}

func TestNames(t *testing.T) {
	names := []string{"new\nline", "\xff\xfe", strings.Repeat("n", 255), " ", "...", "-f", "a b", "\\040"}
	o := newOverlay(t)
	o.layer(names...)
	o.start()
	for _, name := range names {
		o.remove(name)
		o.wantState(name, ioctl.StateWhiteout, 0)
		o.restore(name)
		o.wantLower(name)
	}
}

// Paths beyond PATH_MAX go by a directory that is open.
func TestDeepPath(t *testing.T) {
	o := newOverlay(t)
	name := strings.Repeat("x", 200)
	fd, err := unix.Open(o.Lower, unix.O_PATH|unix.O_DIRECTORY, 0)
	o.must(err)
	for range 30 {
		o.must(unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		o.must(err)
		o.must(unix.Close(fd))
		fd = next
	}
	f, err := unix.Openat(fd, "f", unix.O_CREAT|unix.O_WRONLY, 0o644)
	o.must(err)
	unix.Close(f)
	unix.Close(fd)
	o.start()
	fd, err = unix.Open(o.Merged, unix.O_PATH|unix.O_DIRECTORY, 0)
	o.must(err)
	for range 30 {
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		o.must(err)
		o.must(unix.Close(fd))
		fd = next
	}
	defer unix.Close(fd)
	o.must(unix.Unlinkat(fd, "f", 0))
	path := "/proc/self/fd/" + strconv.Itoa(fd) + "/f"
	state, err := o.mount.UpperState(path)
	if err != nil || state.State != ioctl.StateWhiteout {
		t.Errorf("state: %v, %v", state, err)
	}
	o.must(o.mount.RestoreLower(path, 0))
	var st unix.Stat_t
	o.must(unix.Fstatat(fd, "f", &st, unix.AT_SYMLINK_NOFOLLOW))
}

func TestStateFlags(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f", "e/f", "x/f", "plain/f")
	for _, dir := range []string{"e", "x"} {
		o.must(os.MkdirAll(o.upper(dir), 0o755))
	}
	o.must(unix.Setxattr(o.upper("e"), "trusted.overlay.opaque", []byte("y"), 0))
	o.must(unix.Setxattr(o.upper("x"), "trusted.overlay.opaque", []byte("x"), 0))
	o.must(unix.Mknod(o.upper("e/f"), unix.S_IFCHR, 0))
	o.start()
	o.must(os.Mkdir(o.merged("own"), 0o755))
	o.write(o.merged("own/f"), "own")
	o.must(os.Chmod(o.merged("d"), 0o700))

	o.wantState("e", ioctl.StateUpper, ioctl.FlagOpaque)
	o.wantState("x", ioctl.StateUpper, 0)
	o.wantState("d", ioctl.StateUpper, 0)
	o.wantState("plain", ioctl.StateNone, 0)
	o.wantState("e/f", ioctl.StateWhiteout, ioctl.FlagNoLowerDir)
	o.wantState("own/f", ioctl.StateUpper, ioctl.FlagNoLowerDir)
	o.wantState("own/none", ioctl.StateNone, ioctl.FlagNoLowerDir)
	o.wantState("plain/f", ioctl.StateNone, 0)

	// Nothing shows through in an opaque directory, but the whiteout is gone.
	o.want(o.mount.IsRestorable(o.merged("e/f")), unix.ENODATA)
	o.wantState("e/f", ioctl.StateWhiteout, ioctl.FlagNoLowerDir)
	o.want(o.tryRestore("e/f"), unix.ENODATA)
	o.wantState("e/f", ioctl.StateNone, ioctl.FlagNoLowerDir)
	o.wantAbsent("e/f")
	o.want(o.tryDiscard("own/f"), unix.ENODATA)
	o.wantContent("own/f", "own")

	state, err := o.mount.UpperState(o.merged("d"))
	if err != nil || state.Mode != unix.S_IFDIR|0o700 {
		t.Errorf("mode of a copied up directory: %o, %v", state.Mode, err)
	}
}

// Linux 6.7 and later know whiteouts that are regular files.
func TestXattrWhiteout(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f", "d/g")
	o.must(os.Mkdir(o.upper("d"), 0o755))
	o.must(unix.Setxattr(o.upper("d"), "trusted.overlay.opaque", []byte("x"), 0))
	o.write(o.upper("d/f"), "")
	o.must(unix.Setxattr(o.upper("d/f"), "trusted.overlay.whiteout", []byte("y"), 0))
	o.start()
	if release(t) == "6.1" {
		o.wantState("d/f", ioctl.StateUpper, 0)
		o.want(o.tryRestore("d/f"), unix.EEXIST)
		o.discard("d/f")
		o.wantLower("d/f")
		return
	}
	if _, err := os.Lstat(o.merged("d/f")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lstat: %v", err)
	}
	o.wantState("d/f", ioctl.StateWhiteout, 0)
	o.want(o.mount.IsRestorable(o.merged("d/f")), 0)
	o.restore("d/f")
	o.wantLower("d/f")
	o.wantNames("d", "f", "g")
}

// release is the running kernel's series.
func release(t testing.TB) string {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(uts.Release[:]), ".", 3)
	return parts[0] + "." + parts[1]
}

func TestNoUpper(t *testing.T) {
	o := newOverlay(t)
	o.layer("f")
	o.start("lowerdir="+o.Lower+":"+o.Upper, "upperdir=")
	o.want(o.tryRestore("f"), unix.EROFS)
	o.want(o.mount.IsRestorable(o.merged("f")), unix.EROFS)
	o.wantState("f", ioctl.StateNone, 0)
}
