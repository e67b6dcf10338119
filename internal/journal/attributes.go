// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// attributes are all that an entry has beside its content.
type attributes struct {
	Mode   uint32            `json:"mode"`
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Atime  int64             `json:"atime"` // in nanoseconds
	Mtime  int64             `json:"mtime"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"` // access lists and capabilities, too
}

func readAttributes(dir *os.File, name string) (*attributes, error) {
	f, err := openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	a := &attributes{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		Atime: unix.TimespecToNsec(st.Atim), Mtime: unix.TimespecToNsec(st.Mtim),
	}
	a.Xattrs, err = readXattrs(fdPath(f))
	return a, err
}

// write gives an entry these attributes, and takes away those that they lack. One
// of another type is refused. The overlay's own extended attributes stay, unless
// they are meant, too.
func (a *attributes) write(dir *os.File, name string, overlays bool) error {
	f, err := openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if (st.Mode^a.Mode)&unix.S_IFMT != 0 {
		return unix.ESTALE
	}
	if st.Uid != a.UID || st.Gid != a.GID {
		if err := unix.Fchownat(int(f.Fd()), "", int(a.UID), int(a.GID), unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("set the owner: %w", err)
		}
	}
	path := fdPath(f)
	have, err := readXattrs(path)
	if err != nil {
		return err
	}
	for key := range have {
		if isOverlays(key) && !overlays {
			continue
		}
		if _, wanted := a.Xattrs[key]; !wanted {
			if err := unix.Removexattr(path, key); err != nil && !errors.Is(err, unix.ENODATA) {
				return fmt.Errorf("remove the attribute %s: %w", key, err)
			}
		}
	}
	// After the owner, whose change takes capabilities and set-user-ID away; the
	// mode before access lists, which have a part of it.
	if a.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(path, a.Mode&0o7777); err != nil {
			return fmt.Errorf("set the mode: %w", err)
		}
	}
	for key, value := range a.Xattrs {
		if old, ok := have[key]; ok && bytes.Equal(old, value) {
			continue
		}
		if err := unix.Setxattr(path, key, value, 0); err != nil {
			return fmt.Errorf("set the attribute %s: %w", key, err)
		}
	}
	times := []unix.Timespec{unix.NsecToTimespec(a.Atime), unix.NsecToTimespec(a.Mtime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0); err != nil {
		return fmt.Errorf("set the times: %w", err)
	}
	return nil
}

// equal compares all but the time of the last access.
func (a *attributes) equal(b *attributes) bool {
	if a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID || a.Mtime != b.Mtime || len(a.Xattrs) != len(b.Xattrs) {
		return false
	}
	for key, value := range a.Xattrs {
		if other, ok := b.Xattrs[key]; !ok || !bytes.Equal(value, other) {
			return false
		}
	}
	return true
}

// withoutOverlays leaves out what the kernel keeps for itself in an upper.
func (a *attributes) withoutOverlays() *attributes {
	without := *a
	without.Xattrs = map[string][]byte{}
	for key, value := range a.Xattrs {
		if !isOverlays(key) {
			without.Xattrs[key] = value
		}
	}
	return &without
}

func isOverlays(key string) bool {
	return strings.HasPrefix(key, "trusted.overlay.") || strings.HasPrefix(key, "user.overlay.")
}

// sum is the same for the same attributes. A directory's times are those of what
// is made in it.
func (a *attributes) sum() uint64 {
	h := fnv.New64a()
	keys := make([]string, 0, len(a.Xattrs))
	for key := range a.Xattrs {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	mtime := a.Mtime
	if a.Mode&unix.S_IFMT == unix.S_IFDIR {
		mtime = 0
	}
	_, _ = fmt.Fprintf(h, "%d %d %d %d", a.Mode, a.UID, a.GID, mtime) // a hash takes everything
	for _, key := range keys {
		_, _ = fmt.Fprintf(h, " %q %q", key, a.Xattrs[key])
	}
	return h.Sum64()
}

// readXattrs reads the extended attributes at a path; none where the file system
// has none.
func readXattrs(path string) (map[string][]byte, error) {
	list, err := growing(func(b []byte) (int, error) { return unix.Listxattr(path, b) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the attributes: %w", err)
	}
	all := map[string][]byte{}
	for key := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if key == "" {
			continue
		}
		value, err := growing(func(b []byte) (int, error) { return unix.Getxattr(path, key, b) })
		if errors.Is(err, unix.ENODATA) {
			continue // gone since, or not for us to see
		}
		if err != nil {
			return nil, fmt.Errorf("read the attribute %s: %w", key, err)
		}
		all[key] = value
	}
	return all, nil
}

// fdPath names a descriptor that was opened O_PATH, for calls that take none. It
// leads to the entry itself, a symbolic link too.
func fdPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// growing repeats call with a larger buffer when it says ERANGE.
func growing(call func([]byte) (int, error)) ([]byte, error) {
	for buf := make([]byte, 1<<10); ; buf = make([]byte, 64<<10) { // the kernel's limit
		n, err := call(buf)
		if err == nil {
			return buf[:n], nil
		}
		if !errors.Is(err, unix.ERANGE) || len(buf) > 1<<10 {
			return nil, err
		}
	}
}
