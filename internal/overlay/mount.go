// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// fsType is the name of overlayfs in mountinfo.
const fsType = "overlay"

// Mount is one mount of an overlay in this mount name space.
type Mount struct {
	ID       int      // mount ID, as in mountinfo
	Dev      uint64   // st_dev of the overlay's directories: the overlay's identity
	Point    string   // where it is mounted
	Root     string   // the directory of the overlay that is mounted there, "/" for all of it
	Options  []string // options of this mount: rw, nosuid, …
	ReadOnly bool     // this mount, or the overlay itself, is read-only
	Config   Config   // the overlay's own options
}

// NotOverlayError says that a path lies on no overlay, and which overlays there
// are instead.
type NotOverlayError struct {
	Path     string
	FSType   string // what the path lies on
	Overlays []Mount
}

func (e *NotOverlayError) Error() string {
	return fmt.Sprintf("%q is on %s, not on an overlay", e.Path, e.FSType)
}

// Unwrap makes it an ENOTSUP for errors.Is.
func (e *NotOverlayError) Unwrap() error { return unix.EOPNOTSUPP }

// mountTable is /proc/self/mountinfo, in the kernel's order: a later mount on
// the same point covers an earlier one.
type mountTable []*mountInfo

// mountInfo is one line of it.
type mountInfo = mountinfo.Info

func readMountTable() (mountTable, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return infos, nil
}

// byID returns the mount with that ID, or nil.
func (t mountTable) byID(id int) *mountInfo {
	for _, info := range t {
		if info.ID == id {
			return info
		}
	}
	return nil
}

// overlays returns the overlay mounts of the table.
func (t mountTable) overlays() []Mount {
	var mounts []Mount
	for _, info := range t {
		if info.FSType == fsType {
			mounts = append(mounts, newMount(info))
		}
	}
	return mounts
}

func newMount(info *mountInfo) Mount {
	options := strings.Split(info.Options, ",")
	super := strings.Split(info.VFSOptions, ",")
	config := parseConfig(info.VFSOptions)
	return Mount{
		ID:       info.ID,
		Dev:      unix.Mkdev(uint32(info.Major), uint32(info.Minor)),
		Point:    info.Mountpoint,
		Root:     info.Root,
		Options:  options,
		ReadOnly: slices.Contains(options, "ro") || slices.Contains(super, "ro"),
		Config:   config,
	}
}

// Mounts lists the overlay mounts of this mount name space, in the kernel's
// order. Binds of one overlay are listed each.
func Mounts() ([]Mount, error) {
	table, err := readMountTable()
	if err != nil {
		return nil, err
	}
	return table.overlays(), nil
}

// Find returns the overlay mount that path lies on: its mount point, any path
// below it, or a bind of it. The error is a *NotOverlayError where there is no
// overlay at path.
func Find(path string) (Mount, error) {
	table, err := readMountTable()
	if err != nil {
		return Mount{}, err
	}
	fd, err := openPath(unix.AT_FDCWD, path, unix.O_PATH)
	if err != nil {
		return Mount{}, fmt.Errorf("open %q: %w", path, err)
	}
	defer closeFD(fd)
	info, err := table.holding(fd)
	if err != nil {
		return Mount{}, fmt.Errorf("find the mount of %q: %w", path, err)
	}
	if info.FSType != fsType {
		return Mount{}, &NotOverlayError{Path: path, FSType: info.FSType, Overlays: table.overlays()}
	}
	return newMount(info), nil
}

var errUnlistedMount = errors.New("its mount is not in this mount name space's table")

// holding returns the mount that an open descriptor was reached through.
func (t mountTable) holding(fd int) (*mountInfo, error) {
	id, err := mountID(fd)
	if err != nil {
		return nil, err
	}
	info := t.byID(id)
	if info == nil {
		return nil, errUnlistedMount
	}
	return info, nil
}

// mountID reads a descriptor's mount ID from fdinfo, which every kernel that
// has overlayfs offers; statx(2) does only since Linux 5.8.
func mountID(fd int) (int, error) {
	f, err := os.Open("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("%s: no mnt_id", f.Name())
}
