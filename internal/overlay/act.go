// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// errStale: somebody changed the upper between our look and our act.
var errStale = fmt.Errorf("the upper changed while we looked: %w", unix.ESTALE)

// act does what was planned. Before the first change it makes sure that the rest
// can follow: the upper is proven and the flush is allowed.
func (r *restorer) act(ctx context.Context) {
	if r.opts.DryRun {
		r.foresee(ctx)
		return
	}
	r.actOn(ctx, r.pending())
	// What an early kernel's ioctl did not do is left for the other way.
	r.actOn(ctx, r.pending())
}

// pending are the jobs with something planned that is not done yet.
func (r *restorer) pending() []*job {
	var jobs []*job
	for _, j := range r.jobs {
		if !j.settled() && !j.verify && !j.deferred && j.Action != "" {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// foresee says of each planned job whether it would be refused. What only writing
// could tell, it does not know.
func (r *restorer) foresee(ctx context.Context) {
	jobs := r.pending()
	r.prepareAll(ctx, jobs)
	for _, j := range jobs {
		if !j.settled() && !j.deferred {
			j.Status = StatusPlanned
		}
	}
}

// prepareAll prepares for the jobs that write to the upper, or fails them.
func (r *restorer) prepareAll(ctx context.Context, jobs []*job) {
	var writing []*job
	for _, j := range jobs {
		if j.Method == MethodRemount || r.needsKeeper(j) {
			writing = append(writing, j)
		}
	}
	if err := r.prepare(ctx, writing); err != nil {
		for _, j := range writing {
			if !j.settled() {
				j.fail(err)
			}
		}
	}
}

func (r *restorer) actOn(ctx context.Context, jobs []*job) {
	r.prepareAll(ctx, jobs)
	for i, j := range jobs {
		r.progress(2*len(r.jobs)-len(jobs)+i, len(r.jobs))
		switch {
		case j.settled(), j.deferred:
		case ctx.Err() != nil:
			j.fail(errInterrupted)
		default:
			r.apply(j)
		}
	}
}

func (r *restorer) prepare(ctx context.Context, jobs []*job) error {
	if len(jobs) == 0 {
		return nil
	}
	for _, j := range jobs {
		dir, err := r.resolveParent(j)
		if err == nil && dir.readOnly {
			err = fmt.Errorf("the mount is read-only: %w", unix.EROFS)
		}
		if err != nil {
			j.fail(err)
		}
	}
	r.forget()
	if err := r.mayFlush(); err != nil {
		return err
	}
	// What can be refused by reading is refused before anything is written, and
	// the proof of the upper writes.
	believed, err := r.Upper()
	if err != nil {
		return err
	}
	if err := r.refuseConflicts(ctx, jobs); err != nil {
		return err
	}
	if r.opts.DryRun || !slices.ContainsFunc(jobs, func(j *job) bool { return !j.settled() }) {
		return nil
	}
	upper, err := r.ProvenUpper()
	if err != nil {
		return err
	}
	if upper != believed {
		if err := r.refuseConflicts(ctx, jobs); err != nil {
			return err
		}
	}
	r.openKeeper(upper, jobs)
	return nil
}

// openKeeper asks for the keeper where a job needs one. Without it, only those
// jobs fail.
func (r *restorer) openKeeper(upper *Layer, jobs []*job) {
	var err error
	for _, j := range jobs {
		if j.settled() || !r.needsKeeper(j) {
			continue
		}
		if r.keeper == nil && err == nil {
			if r.opts.Keeper == nil {
				err = fmt.Errorf("nothing was set up to keep what is dropped: %w", unix.EINVAL)
			} else {
				r.keeper, err = r.opts.Keeper(upper)
			}
		}
		if err != nil {
			j.fail(err)
		}
	}
}

func (r *restorer) needsKeeper(j *job) bool {
	return j.Action == ActDiscard || j.Action == ActRemove || j.Action == ActMerge ||
		j.Action == ActRestore && r.opts.KeepWhiteouts
}

// apply makes one change, once: a caller may name an entry twice, in two
// spellings, or by itself and in a tree.
func (r *restorer) apply(j *job) {
	if j.rel == "" {
		_, _ = r.resolveParent(j) // only by its own path, then
	}
	if first := r.changed[j.rel]; first != nil && j.rel != "" {
		j.Backup = first.Backup
		r.done(j, j.Action, first.Method)
		return
	}
	r.change(j)
	if j.verify && j.rel != "" {
		r.changed[j.rel] = j
	}
}

func (r *restorer) change(j *job) {
	var err error
	if j.Action == ActRestore && r.opts.KeepWhiteouts {
		if err := r.keeper.Note("whiteout", j.rel); err != nil {
			j.fail(err)
			return
		}
	}
	switch {
	case j.Action == ActRestore && j.Method == MethodIoctl && r.askKernel() == contractCurrent:
		err = r.restoreByIoctl(j)
	case j.Action == ActRestore && j.Method == MethodIoctl:
		r.applyFirst(j)
		return
	case j.Action == ActRestore:
		err = r.removeWhiteout(j)
	case j.Action == ActDiscard && j.Method == MethodIoctl:
		err = r.discardByIoctl(j)
	case j.Action == ActDiscard, j.Action == ActRemove:
		err = r.moveAway(j)
	case j.Action == ActMerge:
		err = r.merge(j)
	}
	if err != nil {
		j.fail(err)
		return
	}
	r.done(j, j.Action, j.Method)
}

// restoreByIoctl removes a whiteout that the keeper knows of.
func (r *restorer) restoreByIoctl(j *job) error {
	path, release, err := systemPath(j)
	if err != nil {
		return err
	}
	defer release()
	err = r.kernel.RestoreLower(path, 0)
	if errors.Is(err, ioctl.ErrNoLower) {
		return &NoLowerError{WhiteoutGone: true}
	}
	return err
}

// applyFirst restores by an old kernel's ioctl. Where it says that there is no
// whiteout although there may be one, the other way is planned.
func (r *restorer) applyFirst(j *job) {
	path, release, err := systemPath(j)
	if err != nil {
		j.fail(err)
		return
	}
	defer release()
	err = r.kernel.RestoreLower(path, 0)
	switch {
	case err == nil:
		r.done(j, ActRestore, MethodIoctl)
		return
	case errors.Is(err, ioctl.ErrInvalid):
		j.fail(&NothingError{State: ioctl.StateUpper})
		return
	case !errors.Is(err, unix.ENOENT) || r.opts.Method == MethodIoctl:
		j.fail(err)
		return
	}
	r.trace("the kernel's ioctl does not see the whiteout", j.Path, err)
	r.planWhiteout(j)
}

// upperParent opens the directory of a job in the upper.
func (r *restorer) upperParent(j *job) (int, error) {
	dir, _ := splitRel(j.rel)
	fd, err := openBeneath(r.upper.layers[0].fd(), dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, fmt.Errorf("open %q in the upper: %w", dir, err)
	}
	return fd, nil
}

// removeWhiteout takes a whiteout out of the upper, and nothing but a whiteout.
func (r *restorer) removeWhiteout(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	layers := r.layers()
	e, err := layers.readEntry(dir, j.name)
	switch {
	case errors.Is(err, unix.ENOENT):
		return r.removedSince()
	case err != nil:
		return fmt.Errorf("read the whiteout: %w", err)
	case !e.whiteout:
		return errStale
	}
	away, err := r.setAside(dir, j.name)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return r.removedSince()
		}
		return fmt.Errorf("set the whiteout aside: %w", err)
	}
	r.dirty = true
	if !sameWhiteout(&e.stat, away) {
		return errors.Join(errStale, away.putBack())
	}
	if err := away.drop(); err != nil {
		return fmt.Errorf("remove the whiteout: %w", err)
	}
	return nil
}

// sameWhiteout says whether what was set aside is the whiteout that was seen. By
// its inode: an xattr whiteout is one only in its own directory.
func sameWhiteout(seen *unix.Stat_t, away *aside) bool {
	now, err := lstatAt(away.to, away.tempName)
	return err == nil && now.Dev == seen.Dev && now.Ino == seen.Ino &&
		now.Mode == seen.Mode && now.Rdev == seen.Rdev && now.Size == seen.Size
}

// removedSince: somebody else, perhaps another run of this tool, has removed the
// whiteout. It remains to flush, and to see what shows.
func (r *restorer) removedSince() error {
	r.dirty = true
	return nil
}

// moveAway hands an upper entry to the keeper, in one rename.
func (r *restorer) moveAway(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	j.Backup, err = r.keeper.Move(dir, j.name, j.rel)
	r.dirty = r.dirty || j.Backup != "" // it may be moved, and not durable
	return err
}

// discardByIoctl links the upper entry into the backup, then lets the kernel
// drop it.
func (r *restorer) discardByIoctl(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	fd, err := unix.Openat(dir, j.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the upper entry: %w", err)
	}
	defer closeFD(fd)
	if j.Backup, err = r.keeper.Link(dir, j.name, j.rel); err != nil {
		return err
	}
	var before, after unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return err
	}
	path, release, err := systemPath(j)
	if err != nil {
		return err
	}
	defer release()
	if err := r.kernel.RestoreLower(path, ioctl.DiscardUpper); err != nil {
		if errors.Is(err, ioctl.ErrNoLower) {
			return &NoLowerError{}
		}
		return err
	}
	// One link fewer: what was dropped is what was kept.
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	if after.Nlink != before.Nlink-1 {
		return fmt.Errorf("%w: the entry was replaced in that moment, the backup is of the one before", errStale)
	}
	return nil
}

// merge takes the opaque mark off an upper directory.
func (r *restorer) merge(j *job) error {
	dir, err := r.upperParent(j)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	if err := r.keeper.Note("opaque", j.rel); err != nil {
		return err
	}
	layers := r.layers()
	err = unix.Lremovexattr(procPath(dir)+"/"+j.name, layers.prefix+xattrOpaque)
	if errors.Is(err, unix.ENODATA) {
		return errStale
	}
	if err != nil {
		return fmt.Errorf("remove the opaque mark: %w", err)
	}
	r.dirty = true
	return nil
}

// mayFlush refuses before anything was changed what flush would refuse after.
func (r *restorer) mayFlush() error {
	fs, err := unix.Fspick(r.fd(), "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH|unix.FSPICK_NO_AUTOMOUNT)
	if errors.Is(err, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return &FlushError{Err: err}
	}
	closeFD(fs)
	return nil
}

func (r *restorer) flushOnce() {
	if !r.dirty {
		return
	}
	err := r.flush()
	r.trace("flush the overlay's caches", r.Mount.Point, err)
	if err == nil {
		return
	}
	for _, j := range r.jobs {
		if j.verify && j.Method == MethodRemount {
			j.verify = false
			j.fail(err)
		}
	}
}

// splitRel splits a path from the overlay's root at its last component.
func splitRel(rel string) (dir, name string) {
	cut := strings.LastIndexByte(rel, '/')
	if cut < 0 {
		return ".", rel
	}
	return rel[:cut], rel[cut+1:]
}
