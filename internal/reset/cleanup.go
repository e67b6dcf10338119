// SPDX-License-Identifier: Apache-2.0

package reset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrCleaning says that another process cleans up already.
var ErrCleaning = errors.New("another clean-up is at work")

// CleanupOptions say how Cleanup works.
type CleanupOptions struct {
	// Progress, if not nil, is told how many entries were removed so far.
	Progress func(removed int64)
	// Note, if not nil, is told what the disk makes of it.
	Note func(string)

	standing map[string]bool // the requests that stand
}

// Cleaned is what Cleanup did.
type Cleaned struct {
	Removed   int64 // entries
	Wiped     int64 // bytes that were overwritten
	Discarded int64 // bytes that the disk was told are free
}

// Cleanup removes what resets of these places have replaced. It can be
// interrupted, by ctx or by a power cut, and goes on the next time. The error is
// ErrCleaning while another process is at it.
func Cleanup(ctx context.Context, places []*Place, opts CleanupOptions) (all Cleaned, err error) {
	found, _, err := find(places)
	if err != nil {
		return all, err
	}
	opts.standing = map[string]bool{}
	for _, s := range found {
		opts.standing[s.ID] = true
	}
	var errs []error
	for _, p := range places {
		done := all.Removed
		o := opts
		if opts.Progress != nil {
			o.Progress = func(n int64) { opts.Progress(done + n) }
		}
		c, err := p.cleanup(ctx, o)
		errs = append(errs, err)
		all.add(c)
	}
	return all, errors.Join(errs...)
}

func (c *Cleaned) add(other Cleaned) {
	c.Removed += other.Removed
	c.Wiped += other.Wiped
	c.Discarded += other.Discarded
}

func (p *Place) cleanup(ctx context.Context, opts CleanupOptions) (Cleaned, error) {
	c := cleaner{place: p, opts: opts}
	if p.dir == nil {
		return c.Cleaned, p.refuse
	}
	if err := c.leftovers(); err != nil {
		return c.Cleaned, fmt.Errorf("look for what interrupted requests left: %w", err)
	}
	if err := c.empty(ctx, p.dir, dirOld, false); err != nil {
		return c.Cleaned, fmt.Errorf("remove %q: %w", p.path(dirOld), err)
	}
	err := c.stores(ctx)
	return c.Cleaned, errors.Join(err, c.trim())
}

// cleaner empties old/, and the like of it where stores are.
type cleaner struct {
	Cleaned
	place  *Place
	opts   CleanupOptions
	old    int
	wiper  *wiper
	ctx    context.Context //nolint:containedctx // lives as long as one call
	failed []error
}

// leftovers removes what is of no use without a request: members that none names,
// and what was staged for one that was withdrawn.
func (c *cleaner) leftovers() error {
	p, dir := c.place, int(c.place.dir.Fd())
	unlock, err := lockAll([]*Place{p})
	if err != nil {
		return err
	}
	defer unlock()
	names, err := p.names()
	if err != nil {
		return err
	}
	if slices.Contains(names, fileDecided) || slices.Contains(names, fileRequest) {
		return nil // perhaps one for all overlays
	}
	for _, name := range names {
		id, member := strings.CutPrefix(name, memberPrefix)
		switch {
		case member && !c.opts.standing[id]:
		case strings.HasPrefix(name, reservePrefix) && len(c.opts.standing) == 0:
		case strings.HasSuffix(name, tempSuffix):
		default:
			continue
		}
		if err := unlinkAt(dir, name, 0); err != nil {
			return err
		}
	}
	if len(c.opts.standing) > 0 || !slices.Contains(names, dirNew) {
		return nil
	}
	if err := mkdirAt(dir, dirOld); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return p.setAside(dir, dirNew, "")
}

// empty removes all that is in a directory such as old/, and the directory. wipe
// says to overwrite files; without it, that goes by the names.
func (c *cleaner) empty(ctx context.Context, in *os.File, name string, wipe bool) error {
	old, err := openDirAt(int(in.Fd()), name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = old.Close() }()
	c.ctx, c.old, c.failed = ctx, int(old.Fd()), nil
	if err := unix.Flock(c.old, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrCleaning
		}
		return err
	}
	// Directories come up from below while it is read: until nothing changes.
	for {
		before, left := c.Removed, 0
		list := dirents{fd: c.old}
		for {
			entry, _, more, err := list.next()
			if err != nil {
				return err
			}
			if !more {
				break
			}
			left++
			if err := c.remove(entry, wipe || strings.HasSuffix(entry, wipeSuffix)); err != nil {
				return err
			}
		}
		if left == 0 {
			return unlinkAt(int(in.Fd()), name, unix.AT_REMOVEDIR)
		}
		if c.Removed == before {
			return errors.Join(c.failed...)
		}
		c.failed = nil // what failed was tried again, or will be
		if err := list.rewind(); err != nil {
			return err
		}
	}
}

// remove removes an entry of old/. Only what ends the clean-up is an error.
func (c *cleaner) remove(name string, wipe bool) error {
	st, err := statAt(c.old, name)
	if err != nil {
		c.fail(err)
		return c.ctx.Err()
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		c.removeFile(c.old, name, wipe)
		return c.ctx.Err()
	}
	if err := c.emptyDir(name, wipe); err != nil {
		return err
	}
	if err := unix.Unlinkat(c.old, name, unix.AT_REMOVEDIR); err != nil {
		c.fail(&os.PathError{Op: "rmdir", Path: name, Err: err})
	} else {
		c.count()
	}
	return nil
}

// emptyDir removes what is in a directory of old/: files, and empty directories;
// the others go up into old/.
func (c *cleaner) emptyDir(name string, wipe bool) error {
	dir, err := openDirAt(c.old, name)
	if err != nil {
		c.fail(err)
		return c.ctx.Err()
	}
	defer func() { _ = dir.Close() }()
	fd := int(dir.Fd())
	unhold(fd)
	for list := (dirents{fd: fd}); ; {
		entry, typ, more, err := list.next()
		if err != nil {
			c.fail(err)
			return c.ctx.Err()
		}
		if !more {
			return nil
		}
		if err := c.ctx.Err(); err != nil {
			return fmt.Errorf("interrupted: it goes on the next time: %w", err)
		}
		if typ == unix.DT_UNKNOWN {
			st, err := statAt(fd, entry)
			if err != nil {
				c.fail(err)
				continue
			}
			typ = uint8(st.Mode & unix.S_IFMT >> 12)
		}
		if typ == unix.DT_DIR {
			c.removeDir(fd, entry, wipe)
		} else {
			c.removeFile(fd, entry, wipe)
		}
	}
}

// removeDir removes a directory that is empty, and moves one that is not up.
func (c *cleaner) removeDir(dir int, name string, wipe bool) {
	err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EPERM) {
		to := "below-" + newID()
		if wipe {
			to += wipeSuffix
		}
		err = renameNew(dir, name, c.old, to)
		if errors.Is(err, unix.EPERM) { // immutable
			if fd, openErr := openFD(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); openErr == nil {
				unhold(fd)
				closeFD(fd)
				err = renameNew(dir, name, c.old, to)
			}
		}
		if err == nil {
			return
		}
	}
	if err != nil {
		c.fail(&os.PathError{Op: "remove the directory", Path: name, Err: err})
		return
	}
	c.count()
}

func (c *cleaner) removeFile(dir int, name string, wipe bool) {
	if wipe {
		if err := c.wipe(dir, name); err != nil {
			c.fail(fmt.Errorf("overwrite %q: %w", name, err))
			return
		}
	}
	err := unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.EPERM) { // immutable, or append-only
		if fd, openErr := openFD(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); openErr == nil {
			unhold(fd)
			closeFD(fd)
			err = unix.Unlinkat(dir, name, 0)
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		c.fail(&os.PathError{Op: "unlink", Path: name, Err: err})
		return
	}
	c.count()
}

// unhold takes off what chattr(1) put on.
func unhold(fd int) {
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && flags&(flagImmutable|flagAppendOnly) != 0 {
		_ = setFlags(fd, flags&^(flagImmutable|flagAppendOnly)) // the removal will tell
	}
}

func (c *cleaner) count() {
	c.Removed++
	if c.opts.Progress != nil {
		c.opts.Progress(c.Removed)
	}
}

// maxFailures is how many are told: there may be a million.
const maxFailures = 5

func (c *cleaner) fail(err error) {
	if len(c.failed) < maxFailures {
		c.failed = append(c.failed, err)
	}
}
