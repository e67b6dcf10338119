// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// keep is a Keeper that moves into a directory beside the upper. It can fail
// or look on at any moment.
type keep struct {
	dir   *os.File
	path  string
	count int
	notes []string
	// before is called before each operation; its error is the operation's.
	before func(op, rel string) error
}

func (s *stage) keep() *keep {
	s.t.Helper()
	k := &keep{path: filepath.Join(filepath.Dir(s.Upper), "kept")}
	s.must(os.MkdirAll(k.path, 0o700))
	return k
}

// open reaches the directory through the upper's own mount, as a Keeper must:
// a rename from one mount to another is EXDEV, though it be the same file system.
func (k *keep) open(upper *Layer) (Keeper, error) {
	fd, err := unix.Openat(upper.fd(), "../kept", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	k.dir = os.NewFile(uintptr(fd), k.path)
	return k, err
}

func (k *keep) next(op, rel string) (string, error) {
	k.count++
	if k.before == nil {
		return strconv.Itoa(k.count), nil
	}
	return strconv.Itoa(k.count), k.before(op, rel)
}

func (k *keep) Link(dirfd int, name, rel string) (string, error) {
	n, err := k.next("link", rel)
	if err == nil {
		err = unix.Linkat(dirfd, name, int(k.dir.Fd()), n, 0)
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(k.path, n), nil
}

func (k *keep) Move(dirfd int, name, rel string) (string, error) {
	n, err := k.next("move", rel)
	if err == nil {
		err = unix.Renameat(dirfd, name, int(k.dir.Fd()), n)
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(k.path, n), nil
}

func (k *keep) Note(what, rel string) error {
	k.notes = append(k.notes, what+" "+rel)
	if k.before == nil {
		return nil
	}
	return k.before("note", rel)
}
