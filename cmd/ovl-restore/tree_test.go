// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdTree prints all that is to know about files and the trees below them; two
// of its outputs are equal if nothing was changed. Names are printed relative to
// each argument, so that a file can be compared with its backup.
func cmdTree(ts *testscript.TestScript, neg bool, args []string) {
	out := ts.Stdout()
	fmt.Fprint(out) // nothing is an answer, too
	for _, root := range arg(ts, neg, args, 1) {
		root = ts.MkAbs(root)
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			line, err := describeFile(path)
			fmt.Fprintf(out, "%q %s\n", strings.TrimPrefix(path, root), line)
			return err
		})
		ts.Check(err)
	}
}

func describeFile(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	line := fmt.Sprintf("mode %o owner %d:%d rdev %d size %d mtime %d.%09d",
		st.Mode, st.Uid, st.Gid, st.Rdev, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
	attrs, err := xattrs(path)
	if err != nil {
		return "", err
	}
	line += " xattrs " + attrs
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		return line + fmt.Sprintf(" data %q", data), err
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return line + fmt.Sprintf(" to %q", target), err
	}
	return line, nil
}

func xattrs(path string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "none", nil
	}
	if err != nil {
		return "", err
	}
	var all []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasSuffix(name, ".overlay.impure") { // the kernel's own cache
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", err
		}
		all = append(all, fmt.Sprintf("%s=%q", name, value[:n]))
	}
	slices.Sort(all)
	return fmt.Sprint(all), nil
}
