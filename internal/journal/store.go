// SPDX-License-Identifier: Apache-2.0

// Package journal keeps what is dropped from an upper layer. Its store is a
// directory beside the upper directory, on the same file system and outside the
// merged view:
//
//	UPPER.ovl-restore/lock
//	UPPER.ovl-restore/tx/ID/log.jsonl
//	UPPER.ovl-restore/tx/ID/backup/N
//	UPPER.ovl-restore/NAME   files of other packages: see ReadFile, WriteFile
//
// Each transaction logs what it is about to do, on disk, before it does it;
// entries are kept under a number, so that no name is too strange or too long.
package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Suffix is what the store's name adds to the upper directory's.
const Suffix = ".ovl-restore"

// ErrLocked says that another process is working with the same store.
var ErrLocked = errors.New("another ovl-restore is changing this overlay")

// ErrNotLocked says that a store was opened for reading only.
var ErrNotLocked = errors.New("the store was opened for reading only")

// Store is the store of one upper directory. Close it after use.
type Store struct {
	dir   *os.File
	lock  *os.File // nil for reading only
	upper *os.File // O_PATH
	path  string   // for people
}

// Open opens the store beside an upper directory, makes it if there is none, and
// locks it. upper is the directory, opened (O_PATH will do) through a mount that
// also shows its parent; path is what people know it by. The error is ErrLocked
// while another process has the store.
func Open(upper *os.File, path string) (*Store, error) {
	parent, name, err := locate(upper, path)
	if err != nil {
		return nil, fmt.Errorf("find the directory that the upper %q is in: %w", path, err)
	}
	defer func() { _ = parent.Close() }()
	s := &Store{path: filepath.Join(filepath.Dir(path), name+Suffix)}
	return s.open(parent, name+Suffix, upper)
}

// open opens the store's directory, makes it if it is missing, and locks it.
func (s *Store) open(parent *os.File, name string, upper *os.File) (_ *Store, err error) {
	if s.dir, err = makeDir(parent, name); err != nil {
		return nil, fmt.Errorf("make the store %q: %w", s.path, err)
	}
	err = s.takeLock()
	if err == nil {
		s.upper, err = duplicate(upper)
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("lock the store %q: %w", s.path, err)
	}
	return s, nil
}

// View opens the store beside an upper directory for reading, whoever has it
// locked: what it holds may change meanwhile. The error is os.ErrNotExist where
// there is none, and the arguments are those of Open.
func View(upper *os.File, path string) (*Store, error) {
	parent, name, err := locate(upper, path)
	if err != nil {
		return nil, fmt.Errorf("find the directory that the upper %q is in: %w", path, err)
	}
	defer func() { _ = parent.Close() }()
	s := &Store{path: filepath.Join(filepath.Dir(path), name+Suffix)}
	return s.view(parent, name+Suffix, upper)
}

func (s *Store) view(parent *os.File, name string, upper *os.File) (_ *Store, err error) {
	s.dir, err = openAt(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		s.upper, err = duplicate(upper)
	}
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open the store %q: %w", s.path, err)
	}
	return s, nil
}

// Path is where the store is, for people.
func (s *Store) Path() string { return s.path }

// Close unlocks the store.
func (s *Store) Close() error {
	return closeAll(s.upper, s.dir, s.lock)
}

// closeAll closes those of the files that are open.
func closeAll(files ...*os.File) error {
	var errs []error
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func duplicate(f *os.File) (*os.File, error) { return duplicateFD(int(f.Fd())) }

func duplicateFD(fd int) (*os.File, error) {
	again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(again), "directory"), nil
}

func (s *Store) takeLock() error {
	lock, err := openAt(s.dir, "lock", unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrLocked
		}
		return err
	}
	s.lock = lock
	return nil
}

// locate opens the upper's parent and finds its name there. The path that the
// mount options give may have another last component by now, so the directory
// is compared, and looked for where it does not match.
func locate(upper *os.File, path string) (parent *os.File, name string, err error) {
	parent, err = openAt(upper, "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, "", err
	}
	var want unix.Stat_t
	if err := unix.Fstat(int(upper.Fd()), &want); err != nil {
		_ = parent.Close()
		return nil, "", err
	}
	isUpper := func(name string) bool {
		var st unix.Stat_t
		err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		return err == nil && st.Dev == want.Dev && st.Ino == want.Ino
	}
	if name := filepath.Base(path); name != "." && name != "/" && isUpper(name) {
		return parent, name, nil
	}
	names, err := parent.Readdirnames(-1)
	for _, name := range names {
		if isUpper(name) {
			return parent, name, nil
		}
	}
	_ = parent.Close()
	if err == nil {
		err = errors.New("it is the root of its mount, so nothing can be kept beside it")
	}
	return nil, "", err
}

// makeDir opens a directory for its owner only, making it if it is missing. A
// symbolic link in its place is refused, and so is a directory of somebody else.
func makeDir(parent *os.File, name string) (*os.File, error) {
	err := unix.Mkdirat(int(parent.Fd()), name, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	made := err == nil
	dir, err := openAt(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err = checkOwner(dir); err == nil && made {
		err = parent.Sync()
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// checkOwner refuses a directory that somebody else could take backups from, or
// put them into. It may have been there before us, where anybody may make one.
func checkOwner(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%q belongs to user %d with mode %04o, so others could change it: %w",
			dir.Name(), st.Uid, st.Mode&0o7777, unix.EPERM)
	}
	return nil
}

func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, mode)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		default:
			return os.NewFile(uintptr(fd), name), nil
		}
	}
}
