// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// redirected is an entry of the upper that shows what the image has under
// another name.
type redirected struct {
	rel    string // in the merged view
	ino    inode
	code   Code
	origin place
	dirs   []place // of a directory: all that it shows
}

// followsRedirects says what the kernel does about redirects where the mount
// options do not say it: by its module's parameters.
func (c Config) followsRedirects() bool {
	switch c.Redirect {
	case "":
		return moduleSays("redirect_dir", true) || moduleSays("redirect_always_follow", true)
	default:
		return c.Redirect != "nofollow" && (c.Redirect != "off" || moduleSays("redirect_always_follow", true))
	}
}

// moduleSays reads a parameter of the overlay module; unknown is what it says
// where it cannot be read.
func moduleSays(parameter string, unknown bool) bool {
	value, err := os.ReadFile("/sys/module/overlay/parameters/" + parameter)
	if err != nil {
		return unknown
	}
	return strings.HasPrefix(string(value), "Y")
}

// redirectTarget finds what a redirect leads to.
func (e *checkedEntry) redirectTarget(redirect string) (lowerEntry, bool, error) {
	l := *e.checker.layers
	l.redirect = true
	if strings.HasPrefix(redirect, "/") {
		s := search{layers: &l}
		err := s.fromRoot(0, redirect)
		return s.result, s.found, err
	}
	there := e.dir
	there.layers = &l
	return there.lowerEntry(redirect)
}

// redirectedDir looks at a directory with a redirect, and returns what it is
// meant to show of the image.
func (e *checkedEntry) redirectedDir() ([]place, error) {
	target, found, err := e.redirectTarget(e.marks.redirect)
	if err != nil {
		return nil, err
	}
	found = found && target.isDir()
	if !found {
		e.found(newFinding(RedirectOriginMissing, e.path(),
			"a renamed directory, whose redirect %q leads to no directory of the image", e.marks.redirect))
		return nil, nil
	}
	if !e.follow {
		e.found(newFinding(RedirectNotFollowed, e.path(),
			"a renamed directory with the redirect %q, and the overlay does not follow redirects", e.marks.redirect))
		return target.dirs, nil
	}
	ino, err := e.inode()
	e.origins = append(e.origins, redirected{
		rel: e.path(), ino: ino, code: RedirectOriginDoubled, origin: target.place, dirs: target.dirs,
	})
	return target.dirs, err
}

// metacopyFile looks at a file whose content is in the lower.
func (e *checkedEntry) metacopyFile() error {
	e.evidence.depends = true
	name := e.name
	if e.marks.redirect != "" {
		name = e.marks.redirect
	}
	target, found, err := e.redirectTarget(name)
	if err != nil {
		return err
	}
	found = found && target.stat.Mode&unix.S_IFMT == unix.S_IFREG
	switch {
	case !found && len(e.config.DataOnly) > 0 && strings.HasPrefix(name, "/"):
		return nil // its content may be in a data-only layer
	case !found:
		e.found(newFinding(MetacopyOriginMissing, e.path(),
			"a copy of metadata only, and the image has no file %q with the content", name))
	case !e.checker.metacopy || e.marks.redirect != "" && !e.follow:
		e.found(newFinding(MetacopyNotFollowed, e.path(),
			"a copy of metadata only, and the overlay is mounted without metacopy"))
	case e.marks.redirect != "":
		ino, err := e.inode()
		e.origins = append(e.origins, redirected{rel: e.path(), ino: ino, code: MetacopyOriginDoubled, origin: target.place})
		return err
	}
	return nil
}

func inodeOf(st *unix.Stat_t) inode { return inode{st.Dev, st.Ino} }

// doubledOrigins finds entries of the image that show under two names: two
// renamed entries lead to them, or the name that they had is not hidden.
func (c *checker) doubledOrigins(ctx context.Context) error {
	first := map[place]redirected{}
	for _, r := range c.origins {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if other, ok := first[r.origin]; ok && other.ino != r.ino {
			c.doubled(r, other.rel)
			continue
		}
		first[r.origin] = r
		at, err := c.shownAt(r)
		if err != nil {
			return fmt.Errorf("look for what %q was before: %w", r.rel, err)
		}
		if at != "" {
			c.doubled(r, at)
		}
	}
	return nil
}

func (c *checker) doubled(r redirected, other string) {
	c.found(newFinding(r.code, r.rel, "it was renamed, and what it was, %q of the image, also shows as %q", r.origin.rel, other))
}

// shownAt says where in the merged view the origin of r shows as well: below the
// root, or below a directory that was renamed in its turn; "" for nowhere.
func (c *checker) shownAt(r redirected) (string, error) {
	views := make([]redirected, 0, 1+len(c.origins))
	views = append(views, redirected{rel: ".", dirs: c.layers.rootDir().lowers})
	views = append(views, c.origins...)
	for _, view := range views {
		for _, top := range view.dirs {
			rest, ok := below(top.rel, r.origin.rel)
			if top.rel == "." {
				rest, ok = r.origin.rel, true
			}
			if top.layer != r.origin.layer || !ok || rest == "." {
				continue
			}
			at, err := c.shownBelow(view.rel, top, rest, r)
			if at != "" || err != nil {
				return at, err
			}
		}
	}
	return "", nil
}

// shownBelow walks from a merged directory, which shows the lower's directory
// top, towards the origin of r, for as long as what the merged view shows is the
// lower's.
func (c *checker) shownBelow(rel string, top place, rest string, r redirected) (string, error) {
	at, err := c.layers.openAt(rel)
	if err != nil {
		return "", ignoreGone(err)
	}
	defer func() { at.close() }()
	for {
		name, more, deeper := strings.Cut(rest, "/")
		top.rel = joinRel(top.rel, name)
		if !deeper {
			return showsAs(at, name, r)
		}
		next, err := at.openChild(name)
		if err != nil {
			return "", ignoreGone(err)
		}
		at.close()
		at, rest = next, more
		if !contains(at.Dir.lowers, top) {
			return "", nil
		}
	}
}

// showsAs says whether name in a merged directory shows the origin of r.
func showsAs(at *openDir, name string, r redirected) (string, error) {
	rel := joinRel(at.Rel, name)
	up, inUpper, err := at.upperEntry(name)
	if err != nil || rel == r.rel || inUpper && (!up.isDir() || inodeOf(&up.stat) == r.ino) {
		return "", err
	}
	if !inUpper {
		low, found, err := at.lowerEntry(name)
		if err != nil || !found || low.place != r.origin {
			return "", err
		}
		return rel, nil
	}
	child, found, err := at.child(name)
	if err != nil || !found || !contains(child.lowers, r.origin) {
		return "", err
	}
	return rel, nil
}

func contains(places []place, p place) bool {
	for _, q := range places {
		if q == p {
			return true
		}
	}
	return false
}

// ignoreGone: what is not there shows nothing.
func ignoreGone(err error) error {
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}
