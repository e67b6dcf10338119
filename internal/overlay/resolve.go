// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// cleanPath checks a path and splits it at its last component. Trailing slashes
// go, since people's shells add them; nothing else is rewritten, for ".." does
// not mean its text where symbolic links are.
func cleanPath(path string) (clean, parent, name string, err error) {
	if !strings.HasPrefix(path, "/") {
		return "", "", "", fmt.Errorf("the path is not absolute: %w", unix.EINVAL)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return "", "", "", fmt.Errorf("the path holds a NUL byte: %w", unix.EINVAL)
	}
	clean = strings.TrimRight(path, "/")
	if clean == "" {
		return "", "", "", fmt.Errorf("the root directory has no name to restore: %w", unix.EXDEV)
	}
	cut := strings.LastIndexByte(clean, '/')
	parent, name = clean[:cut], clean[cut+1:]
	if name == "." || name == ".." {
		return "", "", "", fmt.Errorf("the path ends in %q: %w", name, unix.EINVAL)
	}
	if parent == "" {
		parent = "/"
	}
	return clean, parent, name, nil
}

// resolvedDir is a directory of the merged view, found by a caller's path.
type resolvedDir struct {
	rel      string // from the overlay's root
	readOnly bool   // the mount that the path leads through
}

// errNotHere: the path lies elsewhere.
var errNotHere = fmt.Errorf("the path is not on this overlay: %w", unix.EXDEV)

// resolve finds a directory of this overlay by path, following symbolic links,
// through whichever mount of the overlay the path leads. Errors are those of
// open(2), and EXDEV for a directory that is not on this overlay.
func (o *Overlay) resolve(dir string) (resolvedDir, error) {
	fd, err := openPath(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return resolvedDir{}, err
	}
	defer closeFD(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return resolvedDir{}, err
	}
	if !o.isOurs(st.Dev) {
		return resolvedDir{}, errNotHere
	}
	info, err := o.table.holding(fd)
	if errors.Is(err, errUnlistedMount) { // mounted since
		if o.table, err = readMountTable(); err == nil {
			info, err = o.table.holding(fd)
		}
	}
	if err != nil {
		return resolvedDir{}, fmt.Errorf("find the mount of %q: %w", dir, err)
	}
	mount := newMount(info)
	inMount, err := relInMount(fd, dir, info.Mountpoint)
	if err != nil {
		return resolvedDir{}, err
	}
	rel := strings.Trim(strings.Trim(mount.Root, "/")+"/"+inMount, "/")
	rel = strings.TrimSuffix(rel, "/.")
	if rel == "" {
		rel = "."
	}
	return resolvedDir{rel: rel, readOnly: mount.ReadOnly}, nil
}

// relInMount says where below mountPoint an open directory lies, which was
// opened by path. The kernel says so itself, up to PATH_MAX.
func relInMount(fd int, path, mountPoint string) (string, error) {
	link, err := os.Readlink(procPath(fd))
	if errors.Is(err, unix.ENAMETOOLONG) {
		return longRelInMount(fd, path, mountPoint)
	}
	if err != nil {
		return "", err
	}
	rel, ok := below(mountPoint, link)
	if !ok {
		return "", fmt.Errorf("%q: %w", link, unix.ESTALE) // moved while we looked
	}
	return rel, nil
}

// longRelInMount does it for a path beyond PATH_MAX: the kernel says where its
// first part lies, and the rest is walked as written, without symbolic links.
func longRelInMount(fd int, path, mountPoint string) (string, error) {
	cut := strings.LastIndexByte(path[:min(len(path), pathMax-1)], '/')
	if cut <= 0 || len(path) < pathMax {
		return "", fmt.Errorf("a symbolic link leads beyond PATH_MAX: %w", unix.ENAMETOOLONG)
	}
	first, err := openPath(unix.AT_FDCWD, path[:cut], unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer closeFD(first)
	rel, err := relInMount(first, path[:cut], mountPoint)
	if err != nil {
		return "", err
	}
	rest, err := cleanRest(path[cut:])
	if err != nil {
		return "", err
	}
	again, err := openBeneath(first, rest, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer closeFD(again)
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &a), unix.Fstat(again, &b)); err != nil {
		return "", err
	}
	if a.Dev != b.Dev || a.Ino != b.Ino {
		return "", unix.ESTALE
	}
	return joinRel(rel, rest), nil
}

// cleanRest drops empty components and "."; ".." cannot be walked as written.
func cleanRest(path string) (string, error) {
	var kept []string
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
		case "..":
			return "", fmt.Errorf("%q beyond PATH_MAX: %w", "..", unix.ENAMETOOLONG)
		default:
			kept = append(kept, name)
		}
	}
	if len(kept) == 0 {
		return ".", nil
	}
	return strings.Join(kept, "/"), nil
}
