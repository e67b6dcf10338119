// SPDX-License-Identifier: Apache-2.0

//go:build !vmguest

package overlay

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

const (
	firstUUID = "8d4b4a1e-5f3a-4c5e-9b77-2f9f4f1c0001"
	otherUUID = "8d4b4a1e-5f3a-4c5e-9b77-2f9f4f1c0002"
	upperUUID = "8d4b4a1e-5f3a-4c5e-9b77-2f9f4f1c0003"
)

// makeImage makes an ext4 file system of a directory. Of the same directory it
// makes the same inodes, with the same file handles, each time.
func makeImage(t *testing.T, tree, uuid string) (image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "ext4")
	out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-U", uuid, "-d", tree, image, "8M").CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return image
}

// makeSquashfs makes a squashfs image of a directory.
func makeSquashfs(t *testing.T, tree string) (image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "squashfs")
	if out, err := exec.Command("mksquashfs", tree, image, "-quiet", "-no-progress").CombinedOutput(); err != nil {
		t.Fatalf("mksquashfs: %v\n%s", err, out)
	}
	return image
}

// mountImage mounts an image for the rest of the test, or until it is unmounted.
func mountImage(t *testing.T, image, dir string) {
	t.Helper()
	loop := attachLoop(t, image)
	fstype, flags := "ext4", uintptr(0)
	if strings.HasSuffix(image, "/squashfs") {
		fstype, flags = "squashfs", unix.MS_RDONLY
	}
	// Somebody else who looks for a free device may claim this one for a moment.
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		err := unix.Mount(loop, dir, fstype, flags, "")
		if err == nil {
			namespace.Mount(t, "", dir, "", unix.MS_PRIVATE, "") // to be undone with the test
			return
		}
		if !errors.Is(err, unix.EBUSY) {
			t.Fatalf("mount %s: %v", loop, err)
		}
	}
	t.Fatalf("mount %s: somebody else has it", loop)
}

// attachLoop makes a block device of an image, which goes with its last user.
func attachLoop(t *testing.T, image string) (device string) {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close() }()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for { // another test may be faster with a free one
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatalf("find a free loop device: %v", err)
		}
		device = "/dev/loop" + strconv.Itoa(n)
		if _, err := os.Stat(device); err != nil { // a container's /dev is no devtmpfs
			if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err != nil {
				t.Fatal(err)
			}
		}
		loop, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = loop.Close() })
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{
			Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return device
		}
		if !errors.Is(err, unix.EBUSY) {
			t.Fatalf("make %s of %s: %v", device, image, err)
		}
	}
}

// newDeviceStage has the image on one disk, and the upper on another.
func newDeviceStage(t *testing.T, image string) *stage {
	t.Helper()
	disk := t.TempDir()
	mountImage(t, makeImage(t, t.TempDir(), upperUUID), disk)
	s := newStageIn(t, disk)
	mountImage(t, image, s.Lower)
	return s
}

// replaceImage is what an update does.
func (s *stage) replaceImage(image string) {
	s.t.Helper()
	s.Unmount(s.t)
	s.must(unix.Unmount(s.Lower, 0))
	mountImage(s.t, image, s.Lower)
}

// imageTree is what the tests' images hold.
func imageTree(t *testing.T, more ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lower")
	fill(t, dir, append(more, "etc/a", "etc/b", "etc/sub/c", "same/s")...)
	return dir
}

// What tells a replaced image are the origins in the upper: by the UUID of the
// image's file system, which is all that differs between two that were made of
// one tree, and by the inodes where the next image keeps the UUID.
func TestCheckLowerChangedOnDevices(t *testing.T) {
	needTrusted(t)
	first := makeImage(t, imageTree(t), firstUUID)
	changed := []found{{LowerChanged, Notice, InUpper, "."}}
	for _, next := range []struct {
		name, image string
		want        []found
		what        string
	}{
		{"the same once more", first, nil, ""},
		{"a copy", makeImage(t, imageTree(t), firstUUID), nil, ""},
		{"another UUID and the same inodes", makeImage(t, imageTree(t), otherUUID), changed, "its file system had another UUID"},
		{"the same UUID and other inodes", makeImage(t, imageTree(t, "bin/new", "aa/b/c"), firstUUID), changed, `"etc"`},
	} {
		t.Run(next.name, func(t *testing.T) {
			s := newDeviceStage(t, first)
			s.mount()
			s.write("etc/a", "changed")
			s.remove("etc/sub/c")
			wantFound(t, s.check())
			s.replaceImage(next.image)
			got := s.checkUnmounted()
			wantFound(t, got, next.want...)
			for _, f := range got {
				if !strings.Contains(f.What, next.what) {
					t.Errorf("%q does not say %q", f.What, next.what)
				}
			}
			s.mount()
			wantFound(t, s.check(), next.want...)
		})
	}
}

// With an index, the kernel does not mount the upper on another image.
func TestCheckLowerChangedUnderAnIndex(t *testing.T) {
	needTrusted(t)
	s := newDeviceStage(t, makeImage(t, imageTree(t), firstUUID))
	s.mount("index=on")
	s.write("etc/a", "changed")
	wantFound(t, s.check())
	s.replaceImage(makeImage(t, imageTree(t), otherUUID))
	wantFound(t, s.checkUnmounted(), inUpper(LowerChanged, "."))
	err := unix.Mount("overlay", s.Merged, "overlay", 0,
		"index=on,lowerdir="+s.Lower+",upperdir="+s.Upper+",workdir="+s.Work)
	if !errors.Is(err, unix.ESTALE) {
		t.Errorf("mount it: %v, want ESTALE", err)
	}
}

// In a squashfs the kernel does not look for origins, as long as no feature needs
// it to: an update is no finding then, though the next image has its files under
// other inodes.
func TestCheckLowerChangedOnSquashfs(t *testing.T) {
	needTrusted(t)
	s := newDeviceStage(t, makeSquashfs(t, imageTree(t)))
	s.mount()
	s.write("etc/a", "changed")
	s.remove("etc/sub/c")
	wantFound(t, s.check())
	s.replaceImage(makeSquashfs(t, imageTree(t, "aa/b/c", "bin/new")))
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(s.inUpper("etc"), s.xattr("origin"), buf)
	s.must(err)
	if handle := handleAt(unix.AT_FDCWD, s.inLower("etc")); handle == "" || handle == originKey(buf[:n]) {
		t.Fatalf("the images do not differ in what origins name: %q", handle)
	}
	wantFound(t, s.checkUnmounted())
	s.mount()
	wantFound(t, s.check())
	s.Unmount(t)

	// With redirects it does look.
	s.mount("redirect_dir=on")
	wantFound(t, s.check(), found{LowerChanged, Notice, InUpper, "."})
	s.must(os.Rename(s.merged("same"), s.merged("renamed")))
	wantFound(t, s.check(), inUpper(LowerChanged, "."))
	s.Unmount(t)
	wantFound(t, s.checkUnmounted(), inUpper(LowerChanged, "."))
}

// Without its impure mark a directory lists other inode numbers than its files
// have, as the finding says; with it, after the repair, the same. That is so with
// all layers on one file system.
func TestCheckImpureMissingOnDevices(t *testing.T) {
	needTrusted(t)
	disk := t.TempDir()
	mountImage(t, makeImage(t, t.TempDir(), upperUUID), disk)
	s := newStageIn(t, disk)
	s.fillLower("etc/a", "etc/b")
	want := inUpper(ImpureMissing, "etc")
	s.losesImpure(want)
	s.mount()
	if s.listsInode("etc", "a") {
		t.Error("a directory without its impure mark lists the inode number that its file has: the finding is wrong")
	}
	s.Unmount(t)
	s.wantRepaired("upper/etc")
	s.mount()
	wantFound(t, s.check())
	if !s.listsInode("etc", "a") {
		t.Error("repaired, and it lists another inode number than its file has")
	}
}

func TestCheckImpureMissingAcrossDevices(t *testing.T) {
	needTrusted(t)
	s := newDeviceStage(t, makeImage(t, imageTree(t), firstUUID))
	s.losesImpure(found{ImpureMissing, Notice, InUpper, "etc"})
	lists := func() (lists [2]bool) {
		for i, options := range []string{"xino=on", "xino=off"} {
			s.mount(options)
			lists[i] = s.listsInode("etc", "a")
			s.Unmount(t)
		}
		return lists
	}
	without := lists()
	s.wantRepaired("upper/etc")
	if with := lists(); with != without {
		t.Errorf("with xino on and off, the directory lists the file's inode number: %v, and with the mark %v; that is no notice", without, with)
	}
}

// losesImpure takes the mark away that a copy-up makes.
func (s *stage) losesImpure(want found) {
	s.t.Helper()
	s.mount()
	s.write("etc/a", "changed")
	s.Unmount(s.t)
	s.unmark("etc", "impure")
	wantFound(s.t, s.checkUnmounted(), want)
	s.mount()
	wantFound(s.t, s.check(), want)
	s.Unmount(s.t)
}

// listsInode says whether a merged directory lists the inode number that one of
// its files has.
func (s *stage) listsInode(dir, name string) bool {
	s.t.Helper()
	fd, err := unix.Open(s.merged(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	s.must(err)
	defer closeFD(fd)
	st, err := lstatAt(fd, name)
	s.must(err)
	var list dirents
	var e dirent
	for list.start(fd); list.next(&e); {
		if string(e.name) == name {
			return e.ino == st.Ino
		}
	}
	s.t.Fatalf("%s does not list %s: %v", dir, name, list.err)
	return false
}
