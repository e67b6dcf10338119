// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// show prints what each name of a tree is.
func (o *overlay) show(top string) error {
	numbers := make(map[uint64]int)
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(top, path)
		if err != nil || relErr != nil {
			fmt.Fprintf(o.out, "  %s: %d\n", rel, errnoOf(err))
			return relErr
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			fmt.Fprintf(o.out, "  %s: %d\n", rel, errnoOf(err))
			return nil
		}
		fmt.Fprintf(o.out, "  %s %s %o %d %d links %d inode %s dev %d %s\n", rel, d.Type(), st.Mode, st.Uid, st.Nlink, sizeOf(&st),
			o.inode(numbers, &st), o.device(&st), contentOf(path, &st))
		return o.showXattrs(path)
	})
}

// inode is an inode number; on ext4, which of the tree's it is: ext4 looks at the
// clock before it takes a number a second time.
func (o *overlay) inode(numbers map[uint64]int, st *unix.Stat_t) string {
	if o.fs != "ext4" && !o.split {
		return strconv.FormatUint(st.Ino, 10)
	}
	if _, ok := numbers[st.Ino]; !ok {
		numbers[st.Ino] = len(numbers)
	}
	return fmt.Sprint("#", numbers[st.Ino])
}

func (o *overlay) device(st *unix.Stat_t) int {
	if _, ok := o.seen[st.Dev]; !ok {
		o.seen[st.Dev] = len(o.seen)
	}
	return o.seen[st.Dev]
}

// sizeOf leaves out directories: what ext4 and tmpfs say of those tells how they
// are made.
func sizeOf(st *unix.Stat_t) int64 {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return 0
	}
	return st.Size
}

func contentOf(path string, st *unix.Stat_t) string {
	var content []byte
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		content, err = os.ReadFile(path)
	case unix.S_IFLNK:
		var target string
		target, err = os.Readlink(path)
		content = []byte(target)
	case unix.S_IFCHR:
		return strconv.FormatUint(st.Rdev, 10)
	}
	return fmt.Sprintf("%q %d", content, errnoOf(err))
}

// showXattrs prints extended attributes. An origin's value tells inode numbers
// and the layer's UUID.
func (o *overlay) showXattrs(path string) error {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		fmt.Fprintf(o.out, "    list: %d\n", errnoOf(err))
		return nil
	}
	names := slices.Sorted(strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"))
	for _, name := range names {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, buf)
		value := fmt.Sprintf("%q", buf[:max(n, 0)])
		if strings.HasSuffix(name, ".origin") || strings.HasSuffix(name, ".upper") || strings.HasSuffix(name, ".uuid") {
			value = fmt.Sprint(n, " bytes")
		}
		fmt.Fprintf(o.out, "    %s %s %d\n", name, value, errnoOf(err))
	}
	return nil
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	errors.As(err, &errno)
	return errno
}
