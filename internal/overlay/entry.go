// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// entry is what one layer holds under a name.
type entry struct {
	stat     unix.Stat_t
	whiteout bool
}

func (e entry) isDir() bool { return !e.whiteout && e.stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// readEntry reads name in a layer's directory. A missing name is an error that
// is ENOENT.
func (l *Layers) readEntry(dirfd int, name string) (entry, error) {
	st, err := lstatAt(dirfd, name)
	if err != nil {
		return entry{}, err
	}
	white, err := l.isWhiteout(dirfd, name, &st)
	return entry{stat: st, whiteout: white}, err
}

// isWhiteout knows both kinds: the character device 0:0, and since Linux 6.7
// the empty regular file with xattr overlay.whiteout in a directory whose
// overlay.opaque is "x". Older kernels show the latter as ordinary files, so
// for them it is one.
func (l *Layers) isWhiteout(dirfd int, name string, st *unix.Stat_t) (bool, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return st.Rdev == 0, nil
	case unix.S_IFREG:
		if st.Size != 0 || !kernelHasXattrWhiteouts() {
			return false, nil
		}
	default:
		return false, nil
	}
	marked, err := l.hasXattr(dirfd, name, xattrWhiteout)
	if err != nil || !marked {
		return false, err
	}
	opaque, err := l.xattr(dirfd, ".", xattrOpaque)
	return string(opaque) == "x", err
}

// kernelHasXattrWhiteouts says whether the running kernel is 6.7 or later.
var kernelHasXattrWhiteouts = sync.OnceValue(func() bool {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return false
	}
	return releaseAtLeast(unix.ByteSliceToString(uts.Release[:]), 6, 7)
})

// releaseAtLeast compares a release such as "6.1.0-56-cloud-amd64" with
// major.minor.
func releaseAtLeast(release string, major, minor int) bool {
	var got [2]int
	field := 0
	for i := 0; i < len(release); i++ {
		switch c := release[i]; {
		case '0' <= c && c <= '9':
			got[field] = got[field]*10 + int(c-'0')
		case c == '.' && field == 0:
			field = 1
		default:
			i = len(release) // the rest is the vendor's
		}
	}
	return got[0] > major || got[0] == major && got[1] >= minor
}

// The overlay's xattrs, without their name space.
const (
	xattrOpaque   = "opaque"
	xattrRedirect = "redirect"
	xattrOrigin   = "origin"
	xattrWhiteout = "whiteout"
)

// xattr reads one of the overlay's xattrs from name in a directory, not
// following it; nil where there is none.
func (l *Layers) xattr(dirfd int, name, key string) ([]byte, error) {
	path := procPath(dirfd) + "/" + name
	buf := make([]byte, 256)
	for {
		n, err := retryEINTR(func() (int, error) { return unix.Lgetxattr(path, l.prefix+key, buf) })
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.ERANGE):
			buf = make([]byte, 64<<10) // XATTR_SIZE_MAX
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
			return nil, nil
		default:
			return nil, err
		}
	}
}

func (l *Layers) hasXattr(dirfd int, name, key string) (bool, error) {
	_, err := retryEINTR(func() (int, error) {
		return unix.Lgetxattr(procPath(dirfd)+"/"+name, l.prefix+key, nil)
	})
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}
