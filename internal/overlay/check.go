// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// CheckOptions say how to check.
type CheckOptions struct {
	// Looked, if not nil, counts the upper entries that were looked at, while it
	// goes on.
	Looked *atomic.Int64
}

// Check looks for what is wrong with the layers of a mounted overlay, and writes
// nothing. The findings are sorted by path; those of a check that failed, or was
// interrupted, come with the error.
func (o *Overlay) Check(ctx context.Context, opts CheckOptions) ([]Finding, error) {
	layers, err := o.Layers()
	if err != nil {
		return nil, err
	}
	c := &checker{layers: layers, opts: opts, mounted: true, config: o.Mount.Config}
	c.follow = !c.config.UserXattr && c.config.followsRedirects()
	c.metacopy = !c.config.UserXattr && layers.metacopy
	layers.redirect = c.follow
	if work, err := o.work(); err == nil {
		c.work = work
		defer func() { _ = work.root.Close() }()
	}
	return c.run(ctx)
}

// checker is one check.
type checker struct {
	layers *Layers
	opts   CheckOptions
	work   *Layer // nil where it was not reached
	config Config

	mounted  bool
	follow   bool // the mount follows redirects
	metacopy bool // and metacopies

	findings []Finding
	origins  []redirected
	evidence evidence
	list     []byte // for marksOf
}

func (c *checker) found(f Finding) { c.findings = append(c.findings, f) }

func (c *checker) run(ctx context.Context) ([]Finding, error) {
	err := c.walk(ctx)
	if err == nil {
		err = c.doubledOrigins()
	}
	c.lowerChanged()
	if c.work != nil {
		err = errors.Join(err, c.checkWork())
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.In, a.In), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Code, b.Code))
	})
	return c.findings, err
}

// walk looks at every entry of the upper.
func (c *checker) walk(ctx context.Context) error {
	if err := c.rootOrigin(); err != nil {
		return err
	}
	todo := []Dir{c.layers.rootDir()}
	for len(todo) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		children, err := c.dir(at)
		if errors.Is(err, unix.ENOENT) && c.mounted {
			continue // removed since
		}
		if err != nil {
			return fmt.Errorf("check %q in the upper: %w", at.Rel, err)
		}
		todo = append(todo, children...)
	}
	return nil
}

// dir looks at one directory of the upper, and returns those in it.
func (c *checker) dir(d Dir) (children []Dir, err error) {
	names, open, err := readUpper(c.layers, d)
	if err != nil {
		return nil, err
	}
	defer open.close()
	at := &checkedDir{checker: c, openDir: open}
	if at.marks, err = c.marksOf(open.upper, "."); err != nil {
		return nil, err
	}
	for _, name := range names {
		child, err := at.entry(name)
		if errors.Is(err, unix.ENOENT) && c.mounted {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		if child != nil {
			children = append(children, *child)
		}
		if c.opts.Looked != nil {
			c.opts.Looked.Add(1)
		}
	}
	if at.copiedUp != "" && !at.marks.impure {
		c.found(newFinding(ImpureMissing, d.Rel,
			"a directory with copies of the image's entries, such as %q, lacks the mark overlay.impure", at.copiedUp))
	}
	// In reverse: the last is taken first.
	slices.Reverse(children)
	return children, nil
}

// checkedDir is the directory that a checker is at.
type checkedDir struct {
	*checker
	*openDir
	marks    entryMarks
	copiedUp string // an entry that was copied up into it, from the lower's entry of its own name
}

// merged says that the directory shows a lower one, too.
func (d *checkedDir) merged() bool { return len(d.openDir.lowers) > 0 }

// entry looks at one entry, and returns it if it is a directory.
func (d *checkedDir) entry(name string) (*Dir, error) {
	up, found, err := d.upperEntry(name)
	if err != nil || !found {
		return nil, err
	}
	rel := joinRel(d.Rel, name)
	low, hasLower, err := d.lowerEntry(name)
	if err != nil {
		return nil, err
	}
	if up.whiteout {
		d.whiteout(rel, hasLower)
		return nil, nil
	}
	m, err := d.marksOf(d.openDir.upper, name)
	if err != nil {
		return nil, err
	}
	e := &checkedEntry{d, name, rel, up, low, hasLower, m}
	if err := e.wrongNamespace(); err != nil {
		return nil, err
	}
	if up.isDir() {
		return e.directory()
	}
	return nil, e.file()
}

func (d *checkedDir) whiteout(rel string, hasLower bool) {
	switch {
	case !d.merged():
		d.found(newFinding(ExposedWhiteout, rel, "a whiteout in a directory that shows nothing of the image"))
	case !hasLower:
		d.found(newFinding(OrphanWhiteout, rel, "a whiteout, and the image has nothing of that name"))
	}
}

// checkedEntry is an entry of the upper that is no whiteout.
type checkedEntry struct {
	*checkedDir
	name     string
	rel      string
	up       entry
	low      lowerEntry
	hasLower bool
	marks    entryMarks
}

// file looks at what is no directory.
func (e *checkedEntry) file() error {
	if e.hasLower && e.low.isDir() {
		n, err := e.countBelow(e.low.dirs)
		if err != nil {
			return err
		}
		f := newFinding(FileOverDirectory, e.rel, "%s where the image has a directory; it hides %s",
			article(e.up.stat.Mode), entries(n))
		f.Severity = Notice // rm -r d; touch d: the kernel leaves no trace of who it was
		e.found(f)
	}
	if e.up.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return e.noteOrigin()
	}
	if e.up.stat.Size == 0 && e.marks.whiteout && e.checkedDir.marks.opaque == "x" && !kernelHasXattrWhiteouts() {
		e.found(newFinding(NewerKernel, e.rel, "a whiteout of Linux 6.7 and later, which this kernel takes for an empty file"))
		return nil
	}
	if e.marks.metacopy {
		return e.metacopyFile()
	}
	return e.noteOrigin()
}

// directory looks at a directory.
func (e *checkedEntry) directory() (*Dir, error) {
	child, found, err := e.child(e.name)
	if err != nil || !found {
		return nil, err
	}
	switch {
	case e.marks.opaque == "y":
	case e.marks.redirect != "":
		if err := e.redirectedDir(&child); err != nil {
			return nil, err
		}
	case e.hasLower && !e.low.isDir():
		e.found(newFinding(DirectoryOverFile, e.rel,
			"a directory, not marked opaque, where the image has %s: the image changed under it", article(e.low.stat.Mode)))
	}
	if len(child.lowers) > 0 {
		if err := e.dirOrigin(child.lowers[0]); err != nil {
			return nil, err
		}
	}
	return &child, e.noteOrigin()
}

// countBelow counts what the lower layers show below a directory.
func (c *checker) countBelow(dirs []place) (int64, error) {
	lower := &Layers{prefix: c.layers.prefix, redirect: c.layers.redirect, lowers: c.layers.lowers}
	total := int64(0)
	todo := []Dir{{Rel: ".", lowers: dirs}}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		open, err := lower.open(at)
		if err != nil {
			return total, err
		}
		err = func() error {
			defer open.close()
			seen := map[string]bool{}
			for _, fd := range open.lower {
				names, err := readNames(fd)
				if err != nil {
					return err
				}
				for _, name := range names {
					if seen[name] {
						continue
					}
					seen[name] = true
					low, found, err := open.lowerEntry(name)
					if err != nil {
						return err
					}
					if found {
						total++
					}
					if low.isDir() {
						todo = append(todo, Dir{Rel: ".", lowers: low.dirs})
					}
				}
			}
			return nil
		}()
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

// article names the type of a file in a sentence.
func article(mode uint32) string {
	switch name := FileType(mode & unix.S_IFMT).String(); mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFIFO, unix.S_IFSOCK:
		return "a " + name
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFCHR:
		return "a character device"
	default:
		return "a block device"
	}
}
