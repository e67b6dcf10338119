// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// wiper overwrites files, where the file system writes to the place that it
// overwrites.
type wiper struct {
	inPlace bool
	zeros   []byte
}

// inPlace are the file systems that overwrite in place: their numbers in statfs.
var inPlace = map[uint32]bool{
	0xef53:     true, // ext2, ext3, ext4
	0x58465342: true, // xfs, but for files that share their blocks
	0x4d44:     true, // vfat
	0x2011bab0: true, // exfat
	0x3153464a: true, // jfs
}

// Wiping says whether overwriting files means something where this place is, and
// what people should know about it.
func (p *Place) Wiping() (means bool, why string) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(p.fd(), &fs); err != nil {
		return false, "the file system does not tell what it is: " + err.Error()
	}
	if !inPlace[uint32(fs.Type)] {
		return false, "this file system writes new data to another place: overwriting would leave the old where it is"
	}
	if p.flash() {
		return true, "the disk is flash, whose controller may keep old copies until it discards them"
	}
	return true, ""
}

// flash says whether the place's disk does not rotate. Without /sys nothing is
// known of that.
func (p *Place) flash() bool {
	var st unix.Stat_t
	if err := unix.Fstat(p.fd(), &st); err != nil {
		return false
	}
	dev := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	for _, queue := range []string{"queue", "../queue"} { // of a disk, of a partition
		if b, err := os.ReadFile(filepath.Join(dev, queue, "rotational")); err == nil {
			return len(b) > 0 && b[0] == '0'
		}
	}
	return false
}

const wipeChunk = 256 << 10

// wipe overwrites a file that nothing else has a name of, and waits until that is
// on disk: what is removed before it was written never is.
func (c *cleaner) wipe(dir int, name string) error {
	if c.wiper == nil {
		c.wiper = &wiper{}
		var why string
		if c.wiper.inPlace, why = c.place.Wiping(); why != "" && c.opts.Note != nil {
			c.opts.Note(why)
		}
	}
	if !c.wiper.inPlace {
		return nil
	}
	st, err := statAt(dir, name)
	// More names: it is kept, or its turn comes with the last of them.
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Size == 0 {
		return err
	}
	f, err := openAt(dir, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EPERM) { // immutable
		if fd, openErr := openFD(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); openErr == nil {
			unhold(fd)
			closeFD(fd)
			f, err = openAt(dir, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		}
	}
	if err != nil {
		return err
	}
	n, err := c.wiper.overwrite(f, st.Size)
	c.Wiped += n
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	return errors.Join(err, f.Close())
}

// overwrite writes zeros over the data of a file, but not into its holes.
func (w *wiper) overwrite(f *os.File, size int64) (written int64, err error) {
	if w.zeros == nil {
		w.zeros = make([]byte, wipeChunk)
	}
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return written, nil
		}
		to := size
		if err != nil { // no such question here: everything
			from = at
		} else if to, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE); err != nil {
			to = size
		}
		for from < to {
			n, err := f.WriteAt(w.zeros[:min(wipeChunk, to-from)], from)
			written += int64(n)
			if err != nil {
				return written, err
			}
			from += int64(n)
		}
		at = to
	}
	return written, nil
}
