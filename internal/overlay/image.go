// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Image identifies the image that the lower layers are, as far as it can be
// told. See os-release(5).
type Image struct {
	ImageID      string // IMAGE_ID
	ImageVersion string // IMAGE_VERSION
	BuildID      string // BUILD_ID
	VersionID    string // VERSION_ID
	// UUID is that of the lower's file system, where os-release tells nothing.
	UUID string
}

// IsZero says that nothing is known.
func (i Image) IsZero() bool { return i == Image{} }

// osReleases are where os-release is, from the root directory; from an overlay
// on /etc; and from one on /usr.
var osReleases = []string{"etc/os-release", "usr/lib/os-release", "os-release", "lib/os-release"}

// Image identifies the image by its os-release, read from the lower: from the
// lower layers themselves, topmost first, else from the file system that one of
// them is a directory of. Where there is none, the file system's UUID has to do.
func (o *Overlay) Image() (Image, error) {
	lowers, err := o.Lowers()
	if err != nil {
		return Image{}, err
	}
	return identify(lowers), nil
}

// Image is Overlay.Image for layers that are open.
func (l *Layers) Image() Image { return identify(l.lowers) }

func identify(lowers []*Layer) Image {
	for _, find := range []func(*Layer) Image{imageIn, imageAbove, imageOfFileSystem} {
		for _, l := range lowers {
			if image := find(l); !image.IsZero() {
				return image
			}
		}
	}
	return Image{}
}

func imageIn(l *Layer) Image { return readImage(l.fd()) }

// imageAbove looks at the root of the mount that a layer is on, which is the
// image where the layer is its /etc.
func imageAbove(l *Layer) (image Image) {
	l.climb(func(at int) bool {
		image = readImage(at)
		return !image.IsZero()
	})
	return image
}

// climb calls try for a layer and for the directories above it, as far as its
// mount shows any, until it says that this is it.
func (l *Layer) climb(try func(at int) bool) {
	at, err := openPath(l.fd(), ".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer func() { closeFD(at) }()
	for last := (inode{}); ; {
		var st unix.Stat_t
		if unix.Fstat(at, &st) != nil || last == inodeOf(&st) || !sameDevice(at, l.fd()) || try(at) {
			return
		}
		last = inodeOf(&st)
		up, err := openPath(at, "..", unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return
		}
		closeFD(at)
		at = up
	}
}

// ImageFile opens a file of the image that the lower is a directory of, by its
// path from the image's root, and says where in the image the lower is: "etc", or
// "." for its root. The error is ENOENT where there is no such file, and where
// several lowers make the image.
func (l *Layers) ImageFile(rel string) (f *os.File, sub string, err error) {
	if len(l.lowers) != 1 {
		return nil, "", unix.ENOENT
	}
	lower := l.lowers[0]
	err = unix.ENOENT
	lower.climb(func(at int) bool {
		var fd int
		if fd, err = openBeneath(at, rel, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
			return false
		}
		f = os.NewFile(uintptr(fd), rel)
		sub, err = relOfFDs(at, lower.fd())
		return true
	})
	if rest, ok := strings.CutPrefix(rel, "usr/"); ok && f == nil { // an image of /usr alone
		var fd int
		if fd, err = openBeneath(lower.fd(), rest, unix.O_RDONLY|unix.O_NONBLOCK); err == nil {
			f, sub = os.NewFile(uintptr(fd), rel), "usr"
		}
	}
	if f == nil {
		return nil, "", err
	}
	st, statErr := f.Stat()
	if err = errors.Join(err, statErr); err == nil && !st.Mode().IsRegular() {
		err = unix.EINVAL
	}
	if err != nil {
		_ = f.Close()
	}
	return f, sub, err
}

// relOfFDs is where below one directory of a mount another one is.
func relOfFDs(root, dir int) (string, error) {
	above, err := os.Readlink(procPath(root))
	if err != nil {
		return "", err
	}
	path, err := os.Readlink(procPath(dir))
	if err != nil {
		return "", err
	}
	return filepath.Rel(above, path)
}

func readImage(root int) Image {
	for _, rel := range osReleases {
		data, err := readSmall(root, rel)
		if err != nil {
			continue
		}
		if image := ParseOSRelease(string(data)); !image.IsZero() {
			return image
		}
	}
	return Image{}
}

// maxSmall bounds what readSmall takes into memory.
const maxSmall = 64 << 10

// readSmall reads a regular file of a layer, following no symbolic link.
func readSmall(root int, rel string) ([]byte, error) {
	fd, err := openBeneath(root, rel, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), rel)
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxSmall {
		return nil, unix.EINVAL
	}
	return io.ReadAll(io.LimitReader(f, maxSmall))
}

// ParseOSRelease reads what tells an image from others in the text of an
// os-release.
func ParseOSRelease(text string) Image {
	var i Image
	fields := map[string]*string{
		"IMAGE_ID": &i.ImageID, "IMAGE_VERSION": &i.ImageVersion, "BUILD_ID": &i.BuildID, "VERSION_ID": &i.VersionID,
	}
	for _, line := range strings.Split(text, "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if field := fields[key]; ok && field != nil {
			*field = unquoteShell(value)
		}
	}
	return i
}

// unquoteShell reads a value that is one word to a shell, as os-release(5) has
// them.
func unquoteShell(value string) string {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func imageOfFileSystem(l *Layer) Image {
	var st unix.Stat_t
	if err := unix.Fstat(l.fd(), &st); err != nil {
		return Image{}
	}
	return Image{UUID: uuidOfDevice("/dev/disk/by-uuid", st.Dev)}
}

// uuidOfDevice asks udev's links which UUID the file system on a device has.
func uuidOfDevice(links string, dev uint64) string {
	names, err := DirNames(links)
	if err != nil {
		return ""
	}
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Stat(filepath.Join(links, name), &st)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == dev {
			return name
		}
	}
	return ""
}
