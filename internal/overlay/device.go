// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bufio"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// onHiddenDevices looks for the end of path on block devices that hold a
// mounted file system which this mount name space does not show: the usual fate
// of a data partition that an initramfs mounted and did not move.
//
// Such a device is mounted once more, in private and attached nowhere. Since
// the kernel shares one superblock between all mounts of a device, that reads
// and replays nothing anew; a device that nobody has mounted is left alone.
func (o *Overlay) onHiddenDevices(path string) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		for _, device := range hiddenDevices(o.table) {
			tree, err := mountPrivately(device)
			if err != nil {
				o.trace("device", device, err)
				continue
			}
			for _, rel := range endings(path) {
				if !yield(candidate{
					how:      fmt.Sprintf("%s in a private mount of %s", rel, device),
					where:    device + ":" + rel,
					onDevice: true,
					open:     func() (int, error) { return openBeneath(tree, rel, unix.O_PATH|unix.O_DIRECTORY) },
				}) {
					closeFD(tree)
					return
				}
			}
			closeFD(tree)
		}
	}
}

// hiddenDevices are the block devices in exclusive use that no mount of the
// table shows.
func hiddenDevices(table mountTable) []string {
	shown := map[uint64]bool{}
	for _, info := range table {
		shown[unix.Mkdev(uint32(info.Major), uint32(info.Minor))] = true
	}
	names, err := filepath.Glob("/sys/class/block/*")
	if err != nil {
		return nil
	}
	var devices []string
	for _, name := range names {
		device := filepath.Join("/dev", filepath.Base(name))
		var st unix.Stat_t
		if unix.Stat(device, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK || shown[st.Rdev] {
			continue
		}
		if inExclusiveUse(device) {
			devices = append(devices, device)
		}
	}
	return devices
}

// inExclusiveUse: O_EXCL on a block device fails with EBUSY while a file system
// on it is mounted (open(2)).
func inExclusiveUse(device string) bool {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		closeFD(fd)
	}
	return errors.Is(err, unix.EBUSY)
}

// mountPrivately mounts a device whose file system is mounted already, and
// returns the root of that mount, which goes away with the descriptor. A wrong
// guess of the type fails: the device is claimed by the right one.
func mountPrivately(device string) (int, error) {
	types, err := blockFileSystems()
	if err != nil {
		return -1, err
	}
	var last error = unix.ENODEV
	for _, fstype := range types {
		for _, readOnly := range []bool{false, true} { // must be as the first mount was
			fd, err := mountDetached(fstype, device, readOnly)
			if err == nil {
				return fd, nil
			}
			last = err
		}
	}
	return -1, last
}

// MountReadOnly mounts the file system on a device read-only, attached nowhere. It
// goes away with the file that is returned, its root directory.
func MountReadOnly(device string) (*os.File, error) {
	types, err := blockFileSystems()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(device); err != nil {
		return nil, err
	}
	var last error = unix.ENODEV
	for _, fstype := range types {
		fd, err := mountDetached(fstype, device, true)
		if err == nil {
			return os.NewFile(uintptr(fd), device), nil
		}
		last = err
	}
	return nil, last
}

func mountDetached(fstype, device string, readOnly bool) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen %s: %w", fstype, err)
	}
	defer closeFD(fs)
	if err := unix.FsconfigSetString(fs, "source", device); err != nil {
		return -1, fmt.Errorf("set the source of %s: %w", fstype, err)
	}
	if readOnly {
		if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
			return -1, fmt.Errorf("set %s read-only: %w", fstype, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("mount as %s: %w", fstype, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fsmount %s: %w", fstype, err)
	}
	return fd, nil
}

// blockFileSystems are the types of /proc/filesystems that want a device.
func blockFileSystems() ([]string, error) {
	f, err := os.Open("/proc/filesystems")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var types []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "\t"); ok && name != "fuseblk" {
			types = append(types, name)
		}
	}
	return types, lines.Err()
}
