// SPDX-License-Identifier: Apache-2.0

// Package pkglist reads which files a package has, from the lists that dpkg and
// opkg keep. A package that was removed has taken its list with it, so lists are
// read from the lower layers as well as from the merged view.
package pkglist

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// dirs are where package managers keep NAME.list. They are written without
// symbolic links, for the lower layers are read as written.
var dirs = []string{
	"/var/lib/dpkg/info",
	"/usr/lib/opkg/info",
	"/var/lib/opkg/info",
	"/opt/lib/opkg/info",
}

// ErrUnknown says that no list of that package was found.
var ErrUnknown = errors.New("no dpkg or opkg list of that package, neither in the merged view nor in the image")

// Files returns the absolute paths of a package's files and of the directories
// they are in, each once, parents before children. (opkg lists no directories,
// but deletes those that a package leaves empty.) trace may be nil. The error is ErrUnknown where
// no package manager has a list of that name.
func Files(name string, trace func(overlay.Event)) ([]string, error) {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("package name %q: %w", name, unix.EINVAL)
	}
	return filesIn(dirs, name, trace)
}

func filesIn(dirs []string, name string, trace func(overlay.Event)) ([]string, error) {
	var all []string
	found := false
	for _, dir := range dirs {
		for _, data := range lists(dir, name, trace) {
			found = true
			for _, path := range parse(data) {
				for ; path != "/"; path = filepath.Dir(path) {
					all = append(all, path)
				}
			}
		}
	}
	if !found {
		return nil, fmt.Errorf("package %q: %w", name, ErrUnknown)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// lists reads the package's lists in one directory, as the merged view and as
// the lower have them.
func lists(dir, name string, trace func(overlay.Event)) [][]byte {
	var found [][]byte
	lower, err := openLower(dir, trace)
	if trace != nil {
		trace(overlay.Event{Op: "open the overlay of the package lists", Path: dir, Err: err})
	}
	if err == nil {
		defer func() { _ = lower.Close() }()
	}
	for _, path := range listPaths(dir, name, lower) {
		if data, err := readMerged(path); err == nil {
			found = append(found, data)
		}
		if lower == nil {
			continue
		}
		data, err := lower.ReadLower(path)
		if err == nil {
			found = append(found, data)
		}
		if trace != nil {
			trace(overlay.Event{Op: "read the package list in the lower", Path: path, Err: err})
		}
	}
	return found
}

// listPaths are the lists that may be there: dpkg adds ":ARCH" to the names of
// packages that can be installed for several architectures.
func listPaths(dir, name string, lower *overlay.Overlay) []string {
	var names []string
	if merged, err := overlay.DirNames(dir); err == nil {
		names = merged
	}
	if lower != nil {
		// What is removed, list and all, is there only.
		if more, err := lower.LowerNames(dir); err == nil {
			names = append(names, more...)
		}
	}
	paths := []string{filepath.Join(dir, name+".list")}
	for _, n := range names {
		if strings.HasPrefix(n, name+":") && strings.HasSuffix(n, ".list") {
			paths = append(paths, filepath.Join(dir, n))
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// openLower opens the overlay that holds a directory, by the innermost one above
// it that exists: it may be deleted itself.
func openLower(dir string, trace func(overlay.Event)) (*overlay.Overlay, error) {
	for {
		o, err := overlay.Open(dir, overlay.Options{Trace: trace})
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, os.ErrNotExist) || dir == "/" {
			return nil, err
		}
		dir = filepath.Dir(dir)
	}
}

// maxList bounds what is taken for a package list: the largest have 2 MB.
const maxList = 64 << 20

// readMerged reads a regular file, and does not wait for anything else.
func readMerged(path string) (data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxList {
		return nil, fmt.Errorf("%s is no package list: %w", path, unix.EINVAL)
	}
	return io.ReadAll(io.LimitReader(f, maxList))
}

// parse reads a list: a path a line, behind which opkg may put a tab and the
// mode. The root directory, "/.", is nobody's to restore.
func parse(data []byte) []string {
	var paths []string
	for line := range strings.Lines(string(data)) {
		path, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		path = strings.TrimSuffix(path, "/")
		if strings.HasPrefix(path, "/") && path != "/." {
			paths = append(paths, path)
		}
	}
	return paths
}
