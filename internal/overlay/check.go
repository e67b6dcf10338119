// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// CheckOptions say how to check.
type CheckOptions struct {
	// Looked, if not nil, counts the upper entries that were looked at, while it
	// goes on.
	Looked *atomic.Int64
	// Found, if not nil, is handed the findings, at most some thousand at a time,
	// while the check goes on, and at its end; they are not for keeping. Its error
	// ends the check.
	Found func([]Finding) error
	// Failed, if not nil, is told what in the upper could not be looked at, and the
	// check goes on; else it ends there.
	Failed func(path string, err error)
}

// Check looks for what is wrong with the layers of a mounted overlay, and writes
// nothing. The findings are sorted by path; those of a check that failed, or was
// interrupted, come with the error. With CheckOptions.Found, none are returned.
func (o *Overlay) Check(ctx context.Context, opts CheckOptions) ([]Finding, error) {
	layers, err := o.Layers()
	if err != nil {
		return nil, err
	}
	c := &checker{layers: layers, opts: opts, mounted: true, config: o.Mount.Config}
	c.follow = !c.config.UserXattr && c.config.followsRedirects()
	c.metacopy = !c.config.UserXattr && layers.metacopy
	layers.redirect = c.follow
	if c.work, err = o.work(); err == nil {
		defer func() { _ = c.work.root.Close() }()
	}
	if found := opts.Found; found != nil {
		c.opts.Found = func(findings []Finding) error {
			err := found(findings)
			if err == nil && o.layers().upper != layers.upper { // it was proven to be elsewhere
				err = errUpperMoved
			}
			return err
		}
	}
	o.walking = true
	defer func() { o.walking = false }()
	return c.run(ctx)
}

// checker is one check. What it found, the goroutine that hands out adds to.
type checker struct {
	comparer
	layers *Layers
	opts   CheckOptions
	work   *Layer // nil where it was not reached
	config Config
	uuids  [][16]byte // of the lowers' file systems

	mounted  bool
	follow   bool // the mount follows redirects
	metacopy bool // and metacopies

	checked
}

// checked is what was found, in a directory or in all.
type checked struct {
	findings []Finding
	origins  []redirected
	evidence evidence
}

func (c *checked) found(f Finding) { c.findings = append(c.findings, f) }

func (c *checker) run(ctx context.Context) ([]Finding, error) {
	err := c.walk(ctx)
	if err == nil {
		err = c.doubledOrigins(ctx)
	}
	c.lowerChanged()
	switch {
	case c.work != nil:
		err = errors.Join(err, c.checkWork())
	case c.mounted:
		c.foundInWork(WorkNotFound, ".", "the work directory was not found, and not looked at")
		c.findings[len(c.findings)-1].Severity = Notice
	}
	err = errors.Join(err, c.handOut())
	return c.findings, err
}

// handOut hands out what was found so far, where that is wanted.
func (c *checker) handOut() error {
	sortBy(c.findings, func(i, j int) bool {
		a, b := &c.findings[i], &c.findings[j]
		return cmp.Or(cmp.Compare(b.In, a.In), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Code, b.Code)) < 0
	})
	if c.opts.Found == nil {
		return nil
	}
	err := c.opts.Found(c.findings)
	c.findings = c.findings[:0]
	return err
}

// walk looks at every entry of the upper.
func (c *checker) walk(ctx context.Context) error {
	if err := c.rootOrigin(); err != nil {
		return err
	}
	c.comparer = comparer{layers: c.layers, opts: DiffOptions{Looked: c.opts.Looked}}
	var mu sync.Mutex
	in := map[*node]*checkedDir{} // those with something to say
	w := &walk{visit: c.comparer.visitor(func(d *openNode) error {
		at := &checkedDir{checker: c, openNode: d}
		err := at.look()
		if len(at.findings)+len(at.origins) > 0 || at.evidence != (evidence{}) {
			mu.Lock()
			in[d.n], d.n.hasSelf = at, true
			d.n.beside = 256 * (len(at.findings) + len(at.origins))
			mu.Unlock()
		}
		return err
	})}
	w.report = func(n *node, _ *record) error {
		mu.Lock()
		at := in[n]
		delete(in, n)
		mu.Unlock()
		sortBy(at.origins, func(i, j int) bool { return at.origins[i].rel < at.origins[j].rel })
		c.findings = append(c.findings, at.findings...)
		c.origins = append(c.origins, at.origins...)
		c.evidence.add(at.evidence)
		if len(c.findings) < settleJobs || c.opts.Found == nil {
			return nil
		}
		return c.handOut()
	}
	w.failed = func(rel string, err error) error {
		if c.opts.Failed == nil {
			return fmt.Errorf("check %q in the upper: %w", rel, err)
		}
		c.opts.Failed(rel, err)
		return nil
	}
	return w.run(ctx, &node{image: c.layers.rootDir().lowers, imageType: modeDir})
}

// checkedDir is a directory that a checker is at, and what it found there.
type checkedDir struct {
	*checker
	*openNode
	checked
	marks    entryMarks
	copiedUp string // an entry that was copied up into it, from the lower's entry of its own name
}

// look looks at the directory's entries.
func (d *checkedDir) look() error {
	opaque, err := d.opaqueMark()
	if err != nil {
		return err
	}
	if d.marks, err = d.readMarks(d.dir.upper, ".", d.openNode.list); err != nil {
		return err
	}
	d.xwhite = opaque == "x" && kernelHasXattrWhiteouts()
	if err := d.openImage(); err != nil {
		return err
	}
	if err := d.entries(true, d.entry); err != nil {
		return err
	}
	if d.copiedUp != "" && !d.marks.impure {
		f := newFinding(ImpureMissing, d.rel,
			"a directory with copies of the image's entries, such as %q, lacks the mark overlay.impure", d.copiedUp)
		if !sameDevice(d.dir.upper, d.dir.lower[0]) {
			f.Severity = Notice
			f.Effect = "none while the upper and the image are on two file systems: the kernel heeds it on one only"
		}
		d.found(f)
	}
	return nil
}

// entry looks at one entry of the upper. Most have no marks, and nothing of the
// image under them: those cost one system call.
func (d *checkedDir) entry(e *dirent) error {
	if err := d.knowType(e); err != nil {
		return err
	}
	white, err := d.isAnyWhiteout(e)
	if err != nil {
		return err
	}
	c := &checkedEntry{checkedDir: d, dirent: e}
	if white {
		return c.whiteout()
	}
	list, err := listXattrs(d.dir.upper, e.name, &d.s.lists[1])
	if err != nil {
		return err
	}
	if e.typ == unix.DT_DIR {
		c.name = string(e.name)
		if c.marks, err = d.readMarks(d.dir.upper, c.name, list); err == nil {
			err = c.directory()
		}
		return err
	}
	if !d.notInImage(e.name) {
		var low unix.Stat_t
		if _, c.hasLower, err = d.inImage(e.name, &low); err != nil {
			return err
		}
		c.lowMode = low.Mode
	}
	if !c.hasLower && len(list) == 0 {
		return nil
	}
	c.name = string(e.name)
	if c.marks, err = d.readMarks(d.dir.upper, c.name, list); err != nil {
		return err
	}
	return c.file()
}

// checkedEntry is an entry of the upper, and what the image has of that name.
type checkedEntry struct {
	*checkedDir
	*dirent
	name     string
	hasLower bool
	lowMode  uint32
	marks    entryMarks
}

func (e *checkedEntry) path() string { return joinRel(e.rel, string(e.dirent.name)) }

func (e *checkedEntry) whiteout() error {
	if len(e.dir.lower) == 0 {
		e.found(newFinding(ExposedWhiteout, e.path(), "a whiteout in a directory that shows nothing of the image"))
		return nil
	}
	if !e.notInImage(e.dirent.name) {
		var low unix.Stat_t
		if _, found, err := e.inImage(e.dirent.name, &low); found || err != nil {
			return err
		}
	}
	e.found(newFinding(OrphanWhiteout, e.path(), "a whiteout, and the image has nothing of that name"))
	return nil
}

// lower is all that the image has of that name.
func (e *checkedEntry) lower() (lowerEntry, error) {
	low, _, err := e.dir.lowerEntry(e.name)
	return low, err
}

// file looks at what is no directory.
func (e *checkedEntry) file() error {
	if e.hasLower && e.lowMode&unix.S_IFMT == unix.S_IFDIR {
		low, err := e.lower()
		if err != nil {
			return err
		}
		n, err := e.countHidden(low.dirs, "")
		if err != nil {
			return err
		}
		f := newFinding(FileOverDirectory, e.path(), "%s where the image has a directory; it hides %s",
			article(modeTypeOf(e.typ)), entries(n))
		f.Severity = Notice // rm -r d; touch d: the kernel leaves no trace of who it was
		e.found(f)
	}
	if e.marks == (entryMarks{}) {
		return nil
	}
	if err := e.wrongNamespace(); err != nil {
		return err
	}
	if e.typ != unix.DT_REG {
		return e.noteOrigin()
	}
	if e.marks.whiteout && e.checkedDir.marks.opaque == "x" && !kernelHasXattrWhiteouts() {
		if empty, err := e.isEmpty(); empty || err != nil {
			e.found(newFinding(NewerKernel, e.path(), "a whiteout of Linux 6.7 and later, which this kernel takes for an empty file"))
			return err
		}
	}
	if e.marks.metacopy {
		return e.metacopyFile()
	}
	return e.noteOrigin()
}

func (e *checkedEntry) isEmpty() (bool, error) {
	st, err := lstatAt(e.dir.upper, e.name)
	return err == nil && st.Size == 0, err
}

// inode is which inode the entry is.
func (e *checkedEntry) inode() (inode, error) {
	st, err := lstatAt(e.dir.upper, e.name)
	return inodeOf(&st), err
}

// directory looks at a directory, and leaves it to be walked.
func (e *checkedEntry) directory() error {
	low, err := e.lower()
	if err != nil {
		return err
	}
	e.hasLower, e.lowMode = low.stat.Mode != 0, low.stat.Mode
	if err := e.wrongNamespace(); err != nil {
		return err
	}
	merged := low.dirs
	switch {
	case e.marks.opaque == "y":
		merged = nil
	case e.marks.redirect != "":
		if merged, err = e.redirectedDir(); err != nil {
			return err
		}
	case e.hasLower && !low.isDir():
		e.found(newFinding(DirectoryOverFile, e.path(),
			"a directory, not marked opaque, where the image has %s: the image changed under it", article(low.stat.Mode)))
	}
	rec := e.n.add(e.dirent.name, record{kind: isDirectory})
	if len(merged) > 0 {
		e.n.more(rec).image = merged
		if err := e.dirOrigin(merged[0]); err != nil {
			return err
		}
	}
	return e.noteOrigin()
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
