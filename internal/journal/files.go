// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The store also keeps files for other packages. Their names are clean relative
// paths, such as "state.json" or "queue/7"; log, lock and tx are taken.

// OpenFile opens a file of the store for reading. The error is os.ErrNotExist
// where there is none.
func (s *Store) OpenFile(name string) (*os.File, error) {
	dir, base, err := s.dirOf(name, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	// A pipe in its place must not block us.
	f, err := openAt(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q in the store %q: %w", name, s.path, err)
	}
	return f, nil
}

// ReadFile reads a file of the store. The error is os.ErrNotExist where there is
// none.
func (s *Store) ReadFile(name string) ([]byte, error) {
	f, err := s.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read %q in the store %q: %w", name, s.path, err)
	}
	return data, nil
}

// WriteFile replaces a file of the store; see Replace.
func (s *Store) WriteFile(name string, data []byte) error {
	return s.Replace(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Replace replaces a file of the store, or makes it, by what write writes. It is
// on disk when Replace returns, and after a power cut, or an error, it is as it
// was or as it was to be.
func (s *Store) Replace(name string, write func(io.Writer) error) error {
	if s.lock == nil {
		return ErrNotLocked
	}
	dir, base, err := s.dirOf(name, true)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := replace(dir, base, write); err != nil {
		return fmt.Errorf("write %q in the store %q: %w", name, s.path, err)
	}
	return nil
}

func replace(dir *os.File, name string, write func(io.Writer) error) error {
	// Only who has the lock writes, so that one temporary name does: what a power
	// cut left is overwritten.
	temp := "." + name + ".new"
	f, err := openAt(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(int(dir.Fd()), temp, 0))
	}
	return dir.Sync()
}

// Remove removes a file of the store. One that is not there is no error.
func (s *Store) Remove(name string) error {
	if s.lock == nil {
		return ErrNotLocked
	}
	dir, base, err := s.dirOf(name, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	err = unix.Unlinkat(int(dir.Fd()), base, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		return fmt.Errorf("remove %q in the store %q: %w", name, s.path, err)
	}
	return nil
}

// Files lists the files of a directory of the store, such as "queue", by name.
// There are none where there is no such directory.
func (s *Store) Files(dir string) ([]string, error) {
	d, _, err := s.dirOf(filepath.Join(dir, "x"), false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list %q in the store %q: %w", dir, s.path, err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// dirOf opens the directory of a file, and makes it where that is wanted.
func (s *Store) dirOf(name string, create bool) (dir *os.File, base string, err error) {
	sub, base := filepath.Split(name)
	sub = strings.TrimSuffix(sub, "/")
	if !filepath.IsLocal(name) || filepath.Clean(name) != name || base == "." || name == "lock" || sub == "tx" || strings.Contains(sub, "/") {
		return nil, "", fmt.Errorf("%q is no name for a file in the store: %w", name, unix.EINVAL)
	}
	switch {
	case sub == "":
		dir, err = openAt(s.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	case create:
		dir, err = makeDir(s.dir, sub)
	default:
		dir, err = openAt(s.dir, sub, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, "", fmt.Errorf("open %q in the store %q: %w", sub, s.path, err)
	}
	return dir, base, nil
}
