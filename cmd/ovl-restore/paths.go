// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
	"github.com/ovl-restore/ovl-restore/internal/pkglist"
)

var errNoPath = errors.New("what is to be restored? give a PATH, --from-file or --package")

// paths gathers what is to be restored, from the arguments and the lists.
func (f restoreFlags) paths(args []string, o *overlay.Overlay, stdin io.Reader, out *printer) ([]string, error) {
	paths := args
	if f.fromFile != "" {
		more, err := readList(f.fromFile, f.nul, stdin)
		if err != nil {
			return nil, fmt.Errorf("read the list of paths: %w", err)
		}
		paths = append(paths, more...)
	}
	if f.pkg != "" {
		files, err := pkglist.Files(f.pkg, f.trace(out))
		if err != nil {
			return nil, err
		}
		for _, path := range files {
			if mayBeOn(o.Mount.Point, path) {
				paths = append(paths, path)
			}
		}
		return absolute(paths)
	}
	if len(paths) == 0 && f.fromFile == "" {
		return nil, &usageError{errNoPath}
	}
	return absolute(paths)
}

// mayBeOn leaves out what a package has elsewhere. A path can lead to the mount
// through a symbolic link, as /bin does to /usr: the first component decides.
func mayBeOn(mountPoint, path string) bool {
	if path == mountPoint {
		return false
	}
	if mountPoint == "/" || strings.HasPrefix(path, mountPoint+"/") {
		return true
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	st, err := os.Lstat("/" + first)
	return err == nil && st.Mode()&os.ModeSymlink != 0
}

// absolute puts the working directory before relative paths, and changes nothing
// else: what ".." means is the kernel's to say.
func absolute(paths []string) ([]string, error) {
	var wd string
	for i, path := range paths {
		if strings.HasPrefix(path, "/") {
			continue
		}
		if path == "" {
			return nil, &usageError{errors.New("a PATH is empty")}
		}
		if wd == "" {
			var err error
			if wd, err = os.Getwd(); err != nil {
				return nil, err
			}
		}
		paths[i] = strings.TrimSuffix(wd, "/") + "/" + strings.TrimPrefix(path, "./")
	}
	return paths, nil
}

// readList reads names that end with a newline or, in NUL mode, a NUL. The last
// one's end may be missing; empty names are skipped.
func readList(file string, nul bool, stdin io.Reader) ([]string, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	end := byte('\n')
	if nul {
		end = 0
	}
	var paths []string
	for r := bufio.NewReader(in); ; {
		name, err := r.ReadBytes(end)
		if name = bytes.TrimSuffix(name, []byte{end}); len(name) > 0 {
			paths = append(paths, string(name))
		}
		if errors.Is(err, io.EOF) {
			return paths, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
