// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// ParsePatterns reads a keep list: a pattern a line, absolute, as the device's
// users name files; # begins a comment.
//
//	/etc/ssh/ssh_host_*_key*    * and ? match within a name, [a-z] too
//	/var/lib/rauc               a directory stands for all that is in it
//	/home/**/.config            ** stands for any number of directories
func ParsePatterns(text string) ([]string, error) {
	var patterns []string
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := CheckPattern(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		patterns = append(patterns, line)
	}
	return patterns, nil
}

// CheckPattern says what is wrong with a pattern.
func CheckPattern(pattern string) error {
	if !strings.HasPrefix(pattern, "/") {
		return fmt.Errorf("the pattern %q is not an absolute path", pattern)
	}
	for name := range strings.SplitSeq(pattern, "/") {
		if name == "." || name == ".." {
			return fmt.Errorf("the pattern %q has the component %q", pattern, name)
		}
		if _, err := path.Match(name, ""); err != nil {
			return fmt.Errorf("the pattern %q: %w", pattern, err)
		}
	}
	return nil
}

// anyDirs is the component that stands for any number of directories.
const anyDirs = "**"

// matcher is how far patterns have matched on the way to a directory: what is
// left of each.
type matcher [][]string

// newMatcher takes the patterns that lead below a mount point.
func newMatcher(patterns []string, mount string) matcher {
	m := matcher{}
	for _, p := range patterns {
		m = m.add(components(p))
	}
	for name := range strings.SplitSeq(strings.Trim(path.Clean(mount), "/"), "/") {
		if name == "" {
			continue
		}
		all, next := m.step(name)
		if all {
			return matcher{{anyDirs}}
		}
		m = next
	}
	return m
}

func components(pattern string) []string {
	return strings.FieldsFunc(pattern, func(r rune) bool { return r == '/' })
}

// add adds what is left of a pattern, and, where it begins with any number of
// directories, what is left without them.
func (m matcher) add(rest []string) matcher {
	if len(rest) == 0 || slices.ContainsFunc(m, func(have []string) bool { return slices.Equal(have, rest) }) {
		return m
	}
	m = append(m, rest)
	if rest[0] == anyDirs && len(rest) > 1 {
		return m.add(rest[1:])
	}
	return m
}

// step looks at a name in the directory: whether it is matched, and else what is
// left to match below it.
func (m matcher) step(name string) (matched bool, next matcher) {
	for _, rest := range m {
		if rest[0] == anyDirs {
			if len(rest) == 1 {
				return true, nil
			}
			next = next.add(rest)
			continue
		}
		if ok, err := path.Match(rest[0], name); err != nil || !ok {
			continue
		}
		if len(rest) == 1 {
			return true, nil
		}
		next = next.add(rest[1:])
	}
	return false, next
}

// matches says whether a path, or a directory that it is in, is matched.
func (m matcher) matches(rel string) bool {
	for name := range strings.SplitSeq(rel, "/") {
		matched, next := m.step(name)
		if matched {
			return true
		}
		m = next
	}
	return false
}

// literals returns the names that can match, where these are known without
// reading the directory.
func (m matcher) literals() (names []string, ok bool) {
	for _, rest := range m {
		if strings.ContainsAny(rest[0], `*?[\`) {
			return nil, false
		}
		if !slices.Contains(names, rest[0]) {
			names = append(names, rest[0])
		}
	}
	return names, true
}

// keepDirs are where keep lists lie, the weaker first: a file of the stronger
// replaces one of the same name.
var keepDirs = []string{"/usr/lib/ovl-restore/keep.d", "/etc/ovl-restore/keep.d"}

// maxKeepFile is more than any keep list has.
const maxKeepFile = 1 << 20

// KeepFiles reads the keep lists (keep.d/*.conf) of a system whose root is root:
// "/" for the running one.
func KeepFiles(root string) ([]string, error) {
	lists := keepLists{}
	for _, dir := range keepDirs {
		if err := lists.readDir(filepath.Join(root, dir)); err != nil {
			return nil, err
		}
	}
	return lists.patterns(), nil
}

// KeepFilesBelow reads them in the layers of overlays that are not mounted: what
// the upper has, else the lowers.
func KeepFilesBelow(overlays []Overlay) ([]string, error) {
	lists := keepLists{}
	for _, dir := range keepDirs {
		for _, o := range overlays {
			rel, below := relTo(dir, o.Mount)
			if !below {
				continue
			}
			layers := append([]string{o.Upper}, o.Lowers...)
			for _, layer := range slices.Backward(layers) { // the topmost replaces
				if err := lists.readDir(filepath.Join(layer, rel)); err != nil {
					return nil, err
				}
			}
		}
	}
	return lists.patterns(), nil
}

// relTo is a path as seen from a mount point.
func relTo(name, mount string) (string, bool) {
	mount = path.Clean("/" + mount)
	if mount == "/" {
		return name, true
	}
	return strings.CutPrefix(name, mount+"/")
}

// keepLists are keep lists by their files' names; nil for one that is masked.
type keepLists map[string][]string

func (l keepLists) readDir(dir string) error {
	names, err := overlay.DirNames(dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the keep lists: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".conf") {
			continue
		}
		file := filepath.Join(dir, name)
		if l[name], err = readKeepFile(file); err != nil {
			return fmt.Errorf("read the keep list %q: %w", file, err)
		}
	}
	return nil
}

// readKeepFile reads one list. A whiteout, or a link to /dev/null, is an empty
// one: it masks what lies below.
func readKeepFile(file string) ([]string, error) {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxKeepFile))
	if err != nil {
		return nil, err
	}
	return ParsePatterns(string(data))
}

// patterns are all of them, in the order of the files' names.
func (l keepLists) patterns() []string {
	names := make([]string, 0, len(l))
	for name := range l {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []string
	for _, name := range names {
		for _, p := range l[name] {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}
