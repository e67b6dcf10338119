// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// candidate is a directory that may be a layer.
type candidate struct {
	how   string
	where string // its path as this process sees it; DEVICE:PATH on a hidden device
	// named: it lies where the mount options say. The others were looked for,
	// and need evidence before they are believed.
	named bool
	// onDevice: it lies on a device that nobody sees, the last place to look.
	onDevice bool
	open     func() (int, error) // O_PATH; called at once or not at all
}

// candidates lists where a layer may be, the likeliest first:
//
//  1. its path in a private clone of the mount that holds it, which shows what
//     lies under anything mounted on top, the overlay itself included;
//  2. its path as it stands, for who may not clone mounts;
//  3. the end of its path under every other visible mount: a file system that
//     was moved after the overlay was mounted, as switch_root does;
//  4. the end of its path in a private mount of a block device that is in use
//     but nowhere to be seen.
func (o *Overlay) candidates(p LayerPath) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		paths := o.absolutePaths(p)
		for _, path := range paths {
			for c := range o.clonesHolding(path) {
				if !yield(c) {
					return
				}
			}
		}
		for _, path := range paths {
			if !yield(candidate{how: "path " + path, where: path, named: true, open: func() (int, error) {
				return openPath(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
			}}) {
				return
			}
		}
		for _, elsewhere := range []func(string) iter.Seq[candidate]{o.underOtherMounts, o.onHiddenDevices} {
			for _, path := range p.spellings() {
				for c := range elsewhere(path) {
					if !yield(c) {
						return
					}
				}
			}
		}
	}
}

// absolutePaths reads a layer's path as the mounter may have meant it. What a
// relative path was relative to is not recorded; the usual places are tried.
func (o *Overlay) absolutePaths(p LayerPath) []string {
	var paths []string
	add := func(path string) {
		path = filepath.Clean(path)
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
		// The option may name the layer through a symbolic link.
		if target, err := filepath.EvalSymlinks(path); err == nil && !slices.Contains(paths, target) {
			paths = append(paths, target)
		}
	}
	for _, path := range p.spellings() {
		if filepath.IsAbs(path) {
			add(path)
			continue
		}
		if wd, err := os.Getwd(); err == nil {
			add(filepath.Join(wd, path))
		}
		add(filepath.Join(filepath.Dir(o.Mount.Point), path))
		add(filepath.Join("/", path))
	}
	return paths
}

// clonesHolding finds path in private clones of the mounts that may hold it,
// the innermost first.
func (o *Overlay) clonesHolding(path string) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		var holders mountTable
		for _, info := range o.table {
			if o.isOurs(unix.Mkdev(uint32(info.Major), uint32(info.Minor))) {
				continue
			}
			if _, ok := below(info.Mountpoint, path); ok {
				holders = append(holders, info)
			}
		}
		slices.Reverse(holders) // a later mount covers an earlier one
		sortBy(holders, func(i, j int) bool { return len(holders[i].Mountpoint) > len(holders[j].Mountpoint) })
		for _, info := range holders {
			rel, _ := below(info.Mountpoint, path)
			if !yield(candidate{
				how:   fmt.Sprintf("path %s in a private clone of %s", path, info.Mountpoint),
				where: path,
				named: true,
				open:  func() (int, error) { return openInClone(info, rel) },
			}) {
				return
			}
		}
	}
}

// errCovered: something else is mounted over the mount point by now.
var errCovered = errors.New("another mount covers it")

// openInClone opens rel in a clone of one mount that shows nothing mounted
// below it. It needs CAP_SYS_ADMIN and Linux 5.2.
func openInClone(info *mountInfo, rel string) (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, info.Mountpoint, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("clone: %w", err)
	}
	defer closeFD(tree)
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return -1, err
	}
	if st.Dev != unix.Mkdev(uint32(info.Major), uint32(info.Minor)) && !hasSubvolumes(info.FSType) {
		return -1, errCovered
	}
	return openBeneath(tree, rel, unix.O_PATH|unix.O_DIRECTORY)
}

// hasSubvolumes: there st_dev is not the device that mountinfo shows.
func hasSubvolumes(fstype string) bool { return fstype == "btrfs" || fstype == "bcachefs" }

// underOtherMounts looks for the end of path under the other mounts.
func (o *Overlay) underOtherMounts(path string) iter.Seq[candidate] {
	return func(yield func(candidate) bool) {
		for _, info := range o.table {
			if info.FSType == fsType || pseudoFS[info.FSType] {
				continue
			}
			for _, rel := range endings(path) {
				if !yield(candidate{
					how:   fmt.Sprintf("%s under the mount %s", rel, info.Mountpoint),
					where: filepath.Join(info.Mountpoint, rel),
					open:  func() (int, error) { return openUnder(info.Mountpoint, rel) },
				}) {
					return
				}
			}
		}
	}
}

func openUnder(dir, rel string) (int, error) {
	fd, err := openPath(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer closeFD(fd)
	return openBeneath(fd, rel, unix.O_PATH|unix.O_DIRECTORY)
}

// pseudoFS are file systems that no layer lies on.
var pseudoFS = map[string]bool{
	"proc": true, "sysfs": true, "cgroup": true, "cgroup2": true, "devpts": true, "mqueue": true,
	"debugfs": true, "tracefs": true, "securityfs": true, "bpf": true, "binfmt_misc": true,
	"pstore": true, "configfs": true, "fusectl": true, "autofs": true, "rpc_pipefs": true, "nsfs": true,
	"hugetlbfs": true, "efivarfs": true, "selinuxfs": true, "devtmpfs": true,
}

// endings are the ways to cut leading directories off a layer's path: for
// /data/overlay/etc these are data/overlay/etc, overlay/etc and etc, and for
// the root directory ".".
func endings(path string) []string {
	path = strings.Trim(filepath.Clean("/"+path), "/")
	if path == "" {
		return []string{"."}
	}
	var all []string
	for {
		all = append(all, path)
		_, rest, more := strings.Cut(path, "/")
		if !more {
			return all
		}
		path = rest
	}
}

// below says where path lies under dir: "." for dir itself.
func below(dir, path string) (rel string, ok bool) {
	if path == dir {
		return ".", true
	}
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	return rest, ok && rest != ""
}
