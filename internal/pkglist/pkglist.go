// SPDX-License-Identifier: Apache-2.0

// Package pkglist reads which files a package has, from the lists that dpkg and
// opkg keep. A package that was removed has taken its list with it, so lists are
// read from the lower layers as well as from the merged view.
package pkglist

import (
	"errors"
	"fmt"
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

// lists reads the package's lists in one directory: dpkg adds ":ARCH" to the
// names of packages that can be installed for several architectures.
func lists(dir, name string, trace func(overlay.Event)) [][]byte {
	var found [][]byte
	paths := []string{filepath.Join(dir, name+".list")}
	if more, err := filepath.Glob(filepath.Join(dir, escapeGlob(name)+":*.list")); err == nil {
		paths = append(paths, more...)
	}
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil {
			found = append(found, data)
		}
		data, err := readLower(path, trace)
		if err == nil {
			found = append(found, data)
		}
		if trace != nil {
			trace(overlay.Event{Op: "read the package list in the lower", Path: path, Err: err})
		}
	}
	return found
}

// readLower reads path from the overlay that holds it: the innermost directory
// above it that exists, for the list's own directory may be deleted.
func readLower(path string, trace func(overlay.Event)) ([]byte, error) {
	dir := filepath.Dir(path)
	for {
		o, err := overlay.Open(dir, overlay.Options{Trace: trace})
		if err == nil {
			data, err := o.ReadLower(path)
			return data, errors.Join(err, o.Close())
		}
		if !errors.Is(err, os.ErrNotExist) || dir == "/" {
			return nil, err
		}
		dir = filepath.Dir(dir)
	}
}

func escapeGlob(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
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
