// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/test/namespace"
)

// worker does random things below root, as a user would.
type worker struct {
	r             *rand.Rand
	root          string
	done, refused int
	compared      int
	kinds         map[string]int // of deviations, how many there were
}

// somewhere is a random path; few names, so that most operations meet what
// others have left.
func (w *worker) somewhere() string {
	p := w.root
	for depth := 1 + w.r.IntN(5); depth > 0; depth-- {
		if w.r.IntN(2) == 0 {
			_ = os.Mkdir(p, 0o755)
		}
		p += "/" + string("abcdef"[w.r.IntN(6)])
	}
	return p
}

// existing is a random path that leads to something, most of the time.
func (w *worker) existing() string {
	p := w.root
	for depth := 1 + w.r.IntN(6); depth > 0; depth-- {
		entries, err := os.ReadDir(p)
		if err != nil || len(entries) == 0 {
			break
		}
		p += "/" + entries[w.r.IntN(len(entries))].Name()
	}
	if p == w.root {
		return w.somewhere()
	}
	return p
}

// step does one thing. What makes no sense where it is tried, the kernel refuses;
// then it is another.
func (w *worker) step() {
	for range 8 {
		if err := w.operation(); err == nil {
			w.done++
			return
		}
		w.refused++
	}
}

func (w *worker) operation() error {
	data := bytes.Repeat([]byte{byte('0' + w.r.IntN(10))}, 1+w.r.IntN(5))
	p := w.existing()
	switch w.r.IntN(24) {
	case 0, 1, 2:
		return write(w.somewhere(), data)
	case 3, 4, 5:
		return os.Mkdir(w.somewhere(), 0o755)
	case 6:
		return write(p, data)
	case 7:
		return os.Chmod(p, os.FileMode(0o400|w.r.IntN(0o400)|0o700))
	case 8:
		return os.Lchown(p, w.r.IntN(3), w.r.IntN(3))
	case 9:
		return unix.Lsetxattr(p, fmt.Sprint("user.x", w.r.IntN(2)), data, 0)
	case 10:
		return unix.Lremovexattr(p, fmt.Sprint("user.x", w.r.IntN(2)))
	case 11, 12:
		return os.Rename(p, w.somewhere())
	case 13:
		return os.Rename(p, w.existing())
	case 14:
		return os.Link(p, w.somewhere())
	case 15:
		return os.Remove(p)
	case 16:
		return w.removeAll(p)
	case 17: // away, and something else there
		if err := w.removeAll(p); err != nil {
			return err
		}
		return os.Mkdir(p, 0o755)
	case 18:
		return os.Symlink(string(data), w.somewhere())
	case 19:
		then := time.Unix(5e8+int64(w.r.IntN(1e6)), 7)
		return os.Chtimes(p, then, then)
	case 20:
		return w.node()
	case 21:
		return os.Truncate(p, int64(w.r.IntN(3)))
	case 22: // a copy-up that changes nothing
		f, err := os.OpenFile(p, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		return f.Close()
	default:
		return unix.Lsetxattr(p, "system.posix_acl_access", acl(uint16(w.r.IntN(8))), 0)
	}
}

// removeAll spares what is near the top, most of the time: something has to be
// left to work on.
func (w *worker) removeAll(p string) error {
	if strings.Count(p[len(w.root):], "/") < 3 && w.r.IntN(4) > 0 {
		return os.Remove(p)
	}
	return os.RemoveAll(p)
}

// write does not wait for somebody to read from a fifo.
func write(p string, data []byte) error {
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// node makes a special file.
func (w *worker) node() error {
	switch w.r.IntN(3) {
	case 0:
		return unix.Mkfifo(w.somewhere(), 0o600)
	case 1:
		return unix.Mknod(w.somewhere(), unix.S_IFSOCK|0o600, 0)
	}
	if !namespace.Privileged() {
		return unix.EPERM
	}
	return unix.Mknod(w.somewhere(), unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(3+2*w.r.IntN(2)))))
}

// acl is an access control list that gives user 1 the permissions perm.
func acl(perm uint16) []byte {
	list := []byte{2, 0, 0, 0}
	entry := func(tag, perm uint16, id uint32) {
		list = append(list, byte(tag), byte(tag>>8), byte(perm), byte(perm>>8),
			byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
	}
	entry(1, 7, ^uint32(0))
	entry(2, perm, 0)
	entry(4, 5, ^uint32(0))
	entry(16, 7, ^uint32(0))
	entry(32, 5, ^uint32(0))
	return list
}
