// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// File is something to put into a guest: a file or directory of the host, or
// the content itself.
type File struct {
	Guest   string // absolute path
	Host    string // path; a directory is taken with all below it
	Content []byte // where Host is empty
	Mode    fs.FileMode
}

// tree is what an initramfs holds, by path without the leading slash.
type tree map[string]entry

type entry struct {
	mode         uint32
	major, minor uint32
	data         []byte
}

func newTree() tree {
	t := make(tree)
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin", "root", "mnt", "etc", "var/tmp"} {
		t.dir(dir)
	}
	// The first program's output needs a console before /dev is mounted.
	t.put("dev/console", entry{mode: unix.S_IFCHR | 0o600, major: 5, minor: 1})
	return t
}

// dir adds a directory and those above it.
func (t tree) dir(name string) {
	for ; name != "." && name != "/"; name = path.Dir(name) {
		if _, ok := t[name]; ok {
			return
		}
		t[name] = entry{mode: unix.S_IFDIR | 0o755}
	}
}

func (t tree) put(name string, e entry) {
	t.dir(path.Dir(name))
	t[name] = e
}

func (t tree) symlink(name, target string) {
	t.put(name, entry{mode: unix.S_IFLNK | 0o777, data: []byte(target)})
}

// add adds a file, or a directory with all below it.
func (t tree) add(f File) error {
	name := guestName(f.Guest)
	if f.Host == "" {
		mode := f.Mode
		if mode == 0 {
			mode = 0o644
		}
		t.put(name, entry{mode: unix.S_IFREG | uint32(mode.Perm()), data: f.Content})
		return nil
	}
	return filepath.WalkDir(f.Host, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(f.Host, p)
		if err != nil {
			return err
		}
		return t.copy(path.Join(name, filepath.ToSlash(rel)), p, d, f.Mode)
	})
}

func (t tree) copy(name, host string, d fs.DirEntry, mode fs.FileMode) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	perm := uint32(info.Mode().Perm())
	switch {
	case info.IsDir():
		t.put(name, entry{mode: unix.S_IFDIR | perm})
	case info.Mode().IsRegular():
		data, err := os.ReadFile(host)
		if err != nil {
			return err
		}
		if mode != 0 {
			perm = uint32(mode.Perm())
		}
		t.put(name, entry{mode: unix.S_IFREG | perm, data: data})
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(host)
		if err != nil {
			return err
		}
		t.symlink(name, target)
	default:
		return fmt.Errorf("%s: no file, directory or symbolic link", host)
	}
	return nil
}

func guestName(guest string) string {
	return path.Clean("/" + guest)[1:]
}

// write writes the tree as an archive, directories before what is in them.
func (t tree) write(w io.Writer) error {
	c := newCPIOWriter(w)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		c.add(name, e.mode, e.major, e.minor, e.data)
	}
	return c.close()
}
