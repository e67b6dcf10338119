// SPDX-License-Identifier: Apache-2.0

//go:build vmguest

package kernel

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

const (
	alice = 1001
	bob   = 1002
	staff = 2000
)

// open makes the way to the merged directory passable for everybody.
func (o *overlay) public() {
	o.t.Helper()
	for dir := o.Merged; dir != "/"; dir = parent(dir) {
		o.must(os.Chmod(dir, 0o755))
	}
}

func parent(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '/' {
			return path[:i]
		}
	}
	return "/"
}

// as restores a name as an ordinary user and asserts how that ends; a refused
// one must change nothing.
func (o *overlay) as(uid int, name string, errno unix.Errno) {
	o.t.Helper()
	asUser(o.t, uid, staff, func() error {
		return errors.Join(
			expect("is "+name+" restorable", o.mount.IsRestorable(o.merged(name)), errno),
			expect("restore "+name, o.tryRestore(name), errno))
	})
	o.wantWhiteout(name, errno != 0)
}

func TestParentPermission(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "d/f", "hidden/f")
	o.must(os.Chmod(o.lower("hidden"), 0o700))
	o.start()
	o.public()
	o.remove("f")
	o.remove("d/f")
	o.remove("hidden/f")
	o.as(alice, "f", unix.EACCES)
	o.as(alice, "hidden/f", unix.EACCES)
	asUser(t, alice, staff, func() error {
		_, err := o.mount.UpperState(o.merged("hidden/f"))
		return expect("state below a directory without search permission", err, unix.EACCES)
	})
	asUser(t, alice, staff, func() error {
		_, err := o.mount.UpperState(o.merged("d/f"))
		return expect("state with search permission", err, 0)
	})
	o.must(os.Chmod(o.merged("d"), 0o777))
	o.as(alice, "d/f", 0)
	o.wantLower("d/f")

	// Discarding takes what unlinking takes.
	o.must(os.Chmod(o.merged("d"), 0o755))
	o.write(o.merged("d/f"), "changed")
	asUser(t, alice, staff, func() error {
		return expect("discard without write permission", o.tryDiscard("d/f"), unix.EACCES)
	})
	o.wantContent("d/f", "changed")
}

func TestStickyDirectory(t *testing.T) {
	o := newOverlay(t)
	o.layer("tmp/alice", "tmp/root", "tmp/bob")
	o.must(os.Chown(o.lower("tmp/alice"), alice, staff))
	o.must(os.Chown(o.lower("tmp/bob"), bob, staff))
	o.must(os.Chown(o.lower("tmp"), bob, staff))
	o.must(os.Chmod(o.lower("tmp"), 0o777|os.ModeSticky))
	o.start()
	o.public()
	for _, name := range []string{"tmp/alice", "tmp/root", "tmp/bob"} {
		o.remove(name)
	}
	o.as(alice, "tmp/root", unix.EPERM)
	o.as(alice, "tmp/bob", unix.EPERM)
	o.as(alice, "tmp/alice", 0)
	// The directory's owner.
	o.remove("tmp/alice")
	o.as(bob, "tmp/alice", 0)
	o.as(bob, "tmp/root", 0)
	o.remove("tmp/root")
	o.restore("tmp/root")
	o.as(bob, "tmp/bob", 0)

	// What is discarded counts, and what appears.
	o.must(os.WriteFile(o.merged("tmp/root"), []byte("changed"), 0))
	o.remove("tmp/bob")
	asUser(t, bob, staff, func() error {
		return os.WriteFile(o.merged("tmp/bob"), []byte("new"), 0o644)
	})
	asUser(t, alice, staff, func() error {
		return errors.Join(
			expect("discard root's", o.tryDiscard("tmp/root"), unix.EPERM),
			expect("discard bob's", o.tryDiscard("tmp/bob"), unix.EPERM))
	})
	o.remove("tmp/root")
	asUser(t, alice, staff, func() error {
		return errors.Join(
			os.WriteFile(o.merged("tmp/root"), []byte("alice's"), 0o644),
			expect("uncover root's", o.tryDiscard("tmp/root"), unix.EPERM))
	})
	o.wantContent("tmp/root", "alice's")
	o.discard("tmp/bob")
	o.wantLower("tmp/bob")
}

// Somebody removed a set-uid program from a directory that a group may write
// to. A member of the group cannot have made it, and cannot bring it back.
func TestPrivilegedFileIsNotRestoredByTheGroup(t *testing.T) {
	o := newOverlay(t)
	o.layer("bin/suid", "bin/sgid", "bin/caps", "bin/plain", "bin/dir/suid", "bin/own-suid", "bin/own-dir/")
	o.must(os.Chmod(o.lower("bin/suid"), 0o755|os.ModeSetuid))
	o.must(os.Chmod(o.lower("bin/sgid"), 0o755|os.ModeSetgid))
	o.must(os.Chown(o.lower("bin/own-suid"), alice, staff))
	o.must(os.Chmod(o.lower("bin/own-suid"), 0o755|os.ModeSetuid))
	o.must(os.Chown(o.lower("bin/own-dir"), alice, staff))
	// cap_net_raw, permitted and effective: VFS_CAP_REVISION_2.
	caps := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	o.must(unix.Setxattr(o.lower("bin/caps"), "security.capability", caps, 0))
	o.must(unix.Mknod(o.lower("bin/device"), unix.S_IFBLK|0o666, int(unix.Mkdev(1, 0))))
	o.must(os.Chown(o.lower("bin"), 0, staff))
	o.must(os.Chmod(o.lower("bin"), 0o775))
	o.start()
	o.public()
	refused := []string{"suid", "sgid", "caps", "device", "dir"}
	allowed := []string{"plain", "own-suid", "own-dir"}
	for _, name := range append(refused, allowed...) {
		o.remove("bin/" + name)
	}
	for _, name := range refused {
		o.as(alice, "bin/"+name, unix.EPERM)
	}
	for _, name := range allowed {
		o.as(alice, "bin/"+name, 0)
	}
	for _, name := range refused {
		o.restore("bin/" + name)
	}
}

func TestReadOnlyBindMount(t *testing.T) {
	o := newOverlay(t)
	o.layer("f", "g")
	o.start()
	o.remove("f")
	o.remove("g")
	ro := t.TempDir()
	o.must(unix.Mount(o.Merged, ro, "", unix.MS_BIND, ""))
	defer func() { o.must(unix.Unmount(ro, unix.MNT_DETACH)) }()
	o.must(unix.Mount("", ro, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))

	o.want(o.mount.RestoreLower(ro+"/f", 0), unix.EROFS)
	o.want(o.mount.RestoreLower(ro+"/f", ioctl.DiscardUpper), unix.EROFS)
	o.want(o.mount.IsRestorable(ro+"/f"), unix.EROFS)
	o.wantWhiteout("f", true)
	state, err := o.mount.UpperState(ro + "/f")
	if err != nil || state.State != ioctl.StateWhiteout {
		t.Errorf("state: %v, %v", state, err)
	}
	// It is the path that counts.
	dir, err := os.Open(ro)
	o.must(err)
	defer dir.Close()
	o.must(ioctl.NewMount(dir).RestoreLower(o.merged("f"), 0))
	o.wantLower("f")

	o.must(unix.Mount("", o.Merged, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	o.want(o.tryRestore("g"), unix.EROFS)
	o.want(o.mount.IsRestorable(o.merged("g")), unix.EROFS)
	o.must(unix.Mount("", o.Merged, "", unix.MS_REMOUNT, ""))
	o.restore("g")
}

func TestOtherMounts(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f", "f", "g")
	o.start()
	o.remove("d/f")
	other := newOverlay(t)
	other.layer("f")
	other.Mount(t)
	other.remove("f")
	o.want(o.mount.RestoreLower(other.merged("f"), 0), unix.EXDEV)
	_, err := o.mount.UpperState(other.merged("f"))
	o.want(err, unix.EXDEV)
	other.wantWhiteout("f", true)

	o.must(unix.Mount("tmpfs", o.merged("d"), "tmpfs", 0, ""))
	o.want(o.tryRestore("d/f"), unix.EXDEV)
	o.must(unix.Unmount(o.merged("d"), 0))
	o.restore("d/f")

	// A mount point keeps its file, as it does for unlink.
	o.must(os.WriteFile(o.merged("f"), []byte("changed"), 0))
	o.must(unix.Mount(o.merged("g"), o.merged("f"), "", unix.MS_BIND, ""))
	o.want(o.tryDiscard("f"), unix.EBUSY)
	o.must(unix.Unmount(o.merged("f"), 0))
	o.wantContent("f", "changed")
	o.discard("f")
	o.wantLower("f")
}

func TestSymbolicLinks(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f", "g")
	o.must(os.Symlink("d", o.lower("to-d")))
	o.must(os.Symlink("g", o.lower("to-g")))
	o.start()
	// Followed on the way.
	o.remove("d/f")
	o.restore("to-d/f")
	o.wantLower("d/f")
	// Never followed at the end.
	o.remove("g")
	o.want(o.tryRestore("to-g"), unix.EEXIST)
	o.wantWhiteout("g", true)
	o.remove("to-g")
	o.restore("to-g")
	if target, err := os.Readlink(o.merged("to-g")); err != nil || target != "g" {
		t.Errorf("to-g: %q, %v", target, err)
	}
	o.wantWhiteout("g", true)
	// Another link in its place is discarded, not followed.
	o.restore("g")
	o.remove("to-g")
	o.must(os.Symlink("d/f", o.merged("to-g")))
	o.discard("to-g")
	if target, err := os.Readlink(o.merged("to-g")); err != nil || target != "g" {
		t.Errorf("to-g: %q, %v", target, err)
	}
	o.wantLower("d/f")
}

func TestChroot(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f", "f")
	o.start()
	o.remove("d/f")
	o.remove("f")
	onThread(t, func() error {
		if err := unix.Chroot(o.merged("d")); err != nil {
			return err
		}
		return errors.Join(
			expect("restore outside", o.mount.RestoreLower(o.merged("f"), 0), unix.ENOENT),
			expect("restore above", o.mount.RestoreLower("/../g", 0), unix.EEXIST),
			expect("restore inside", o.mount.RestoreLower("/f", 0), 0))
	})
	o.wantLower("d/f")
	o.wantWhiteout("f", true)
}

func TestRemovedParent(t *testing.T) {
	o := newOverlay(t)
	o.layer("d/f")
	o.start()
	o.remove("d/f")
	dir := o.openFile("d", unix.O_DIRECTORY)
	inside := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/f"
	o.remove("d")
	o.want(o.mount.RestoreLower(inside, 0), unix.ENOENT)
	_, err := o.mount.UpperState(inside)
	o.want(err, unix.ENOENT)
	o.want(o.tryRestore("d/f"), unix.ENOENT)
	o.restore("d")
	o.wantLower("d/f")
}
