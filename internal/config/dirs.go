// SPDX-License-Identifier: Apache-2.0

package config

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

// maxFile bounds what a file of the configuration may have.
const maxFile = 1 << 20

// Dirs are the directories of the configuration, the weakest first.
type Dirs []string

// Default are the image's own directory, and that of the device's owner.
var Default = Dirs{"/usr/lib/ovl-restore", "/etc/ovl-restore"}

// Below returns the same directories of the system whose root directory is root.
func (d Dirs) Below(root string) Dirs {
	below := make(Dirs, len(d))
	for i, dir := range d {
		below[i] = filepath.Join(root, dir)
	}
	return below
}

// DropIns lists the files of the directory sub whose names end in suffix, sorted
// by name. As with systemd's, a file replaces one of the same name in a weaker
// directory; an empty file, or a symbolic link to /dev/null, does so and is left
// out itself. Directories that do not exist are empty.
func (d Dirs) DropIns(sub, suffix string) ([]string, error) {
	byName := make(map[string]string)
	var all []string
	for _, dir := range d {
		dir = filepath.Join(dir, sub)
		names, err := namesIn(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, suffix) || strings.HasPrefix(name, ".") {
				continue
			}
			path := filepath.Join(dir, name)
			masked, err := isMask(path)
			if err != nil {
				return nil, fmt.Errorf("read the configuration: %w", err)
			}
			if _, ok := byName[name]; !ok {
				all = append(all, name)
			}
			byName[name] = path
			if masked {
				byName[name] = ""
			}
		}
	}
	var paths []string
	slices.Sort(all)
	for _, name := range all {
		if path := byName[name]; path != "" {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// namesIn is what a directory has; os.ReadDir adds 10 KB to the program.
func namesIn(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Readdirnames(-1)
}

func isMask(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if info.Mode().IsRegular() {
		return info.Size() == 0, nil
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null), nil
}

// ReadFile reads a file of the configuration. It waits for no fifo and believes
// no device: what is not a regular file of up to 1 MiB is an error.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%q is larger than %d KiB", path, maxFile>>10)
	}
	return data, err
}
