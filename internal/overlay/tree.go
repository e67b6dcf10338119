// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// planTree plans every deviation at and below a path.
func (r *restorer) planTree(ctx context.Context, top *job) {
	dir, err := r.resolveTop(top)
	if err != nil && top.name != "" { // no directory: one entry
		r.plan(top)
		return
	}
	if err == nil {
		err = r.reachAll()
	}
	if err == nil {
		err = r.planDir(ctx, top, dir.rel)
	}
	if err != nil {
		top.fail(err)
	}
}

// planDir plans for a directory of the merged view, with all that is below.
func (r *restorer) planDir(ctx context.Context, top *job, rel string) error {
	layers := r.layers()
	d, err := layers.dirAt(rel)
	switch {
	case err != nil:
		return err
	case !d.inUpper: // the lower's alone: nothing can deviate
		top.Action, top.Status = ActNone, StatusDone
		return nil
	}
	top.hidden = true // its deviations speak
	if rel == "." {
		r.walk(ctx, descent{dir: layers.rootDir(), path: strings.TrimRight(top.Path, "/")})
		return nil
	}
	parentRel, name := splitRel(rel)
	if name != top.name { // it is mounted there, and called otherwise
		r.walk(ctx, descent{dir: d, path: top.Path})
		return nil
	}
	parent, err := layers.dirAt(parentRel)
	if err != nil {
		return err
	}
	dir, err := layers.open(parent)
	if err != nil {
		return err
	}
	next := r.planEntry(ctx, dir, name, &descent{dir: parent, path: parentPath(top.Path)})
	dir.close()
	if next != nil {
		r.walk(ctx, *next)
	}
	return nil
}

// resolveTop finds a path that is a directory in the merged view. Its last
// component is not followed.
func (r *restorer) resolveTop(top *job) (resolvedDir, error) {
	fd, err := openPath(unix.AT_FDCWD, top.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return resolvedDir{}, err
	}
	defer closeFD(fd)
	dir, err := r.resolve(top.Path)
	if err == nil && top.name == "" && dir.rel != "." {
		// It ends in "." or "..", which names no entry: the kernel knows its name.
		named, err := os.Readlink(procPath(fd))
		if err != nil {
			return dir, err
		}
		top.Path, top.parent, top.name, err = cleanPath(named)
		return dir, err
	}
	return dir, err
}

// reachAll reaches the layers that a look at a whole tree needs.
func (r *restorer) reachAll() error {
	if _, err := r.Upper(); err != nil {
		return err
	}
	_, err := r.Lowers()
	return err
}

// descent is a directory to look into.
type descent struct {
	dir       Dir
	path      string // as the caller names it, "" for the root directory
	unmerged  bool   // it, or one above it, is opaque until the flush
	checked   bool   // whether path leads here, see elsewhere
	elsewhere error
}

// walk plans all deviations below a directory, parents before children.
func (r *restorer) walk(ctx context.Context, top descent) {
	layers := r.layers()
	todo := []descent{top}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if ctx.Err() != nil {
			r.failAt(at.path, errInterrupted)
			continue
		}
		names, dir, err := readUpper(layers, at.dir)
		if err != nil {
			r.failAt(at.path, err)
			continue
		}
		for _, name := range names {
			if next := r.planEntry(ctx, dir, name, &at); next != nil {
				todo = append(todo, *next)
			}
		}
		dir.close()
	}
}

// elsewhere makes sure, once for a directory, that its path leads to what the
// layers have there. It does not where something is mounted over it, or over a
// directory above it.
func (r *restorer) elsewhere(at *descent) error {
	if at.checked {
		return at.elsewhere
	}
	path := at.path
	if path == "" {
		path = "/"
	}
	dir, err := r.resolve(path)
	if err == nil && dir.rel != at.dir.Rel {
		err = errElsewhere
	}
	at.checked, at.elsewhere = true, err
	return err
}

func readUpper(layers *Layers, d Dir) ([]string, *openDir, error) {
	dir, err := layers.open(d)
	if err != nil {
		return nil, nil, err
	}
	names, err := readNames(dir.upper)
	if err != nil {
		dir.close()
		return nil, nil, err
	}
	slices.Sort(names)
	return names, dir, nil
}

func (r *restorer) failAt(path string, err error) {
	if path == "" {
		path = "/"
	}
	r.jobs = append(r.jobs, &job{Result: Result{Path: path, Status: StatusFailed, Err: err}})
}

// planEntry plans one upper entry of a directory. It returns the directory to
// look into next, if there is one.
func (r *restorer) planEntry(ctx context.Context, dir *openDir, name string, at *descent) *descent {
	j := &job{
		Result: Result{Path: at.path + "/" + name}, parent: at.path, name: name,
		rel: joinRel(dir.Rel, name), throughUpper: at.unmerged,
	}
	if at.path == "" {
		j.parent = "/"
	}
	up, found, err := dir.upperEntry(name)
	if err == nil && !found {
		return nil
	}
	var low lowerEntry
	var hasLower bool
	if err == nil {
		low, hasLower, err = dir.lowerEntry(name)
	}
	if err != nil {
		r.failAt(j.Path, err)
		return nil
	}
	j.orphan, j.isDir = !hasLower, up.isDir()
	if hasLower {
		j.low = &low
	}
	switch {
	case up.whiteout && !hasLower && r.sureOfLowers(): // it makes no difference to what is seen
		return nil
	case up.isDir() && hasLower && low.isDir():
		return r.planMerged(dir, j, at)
	}
	if err := r.elsewhere(at); err != nil {
		r.failAt(j.Path, err)
		return nil
	}
	if ctx.Err() != nil { // a current kernel's ioctl would act at once
		r.failAt(j.Path, errInterrupted)
		return nil
	}
	if up.whiteout {
		r.jobs = append(r.jobs, j)
		r.plan(j)
		return nil
	}
	r.jobs = append(r.jobs, j)
	r.planDrop(j)
	return nil
}

// planDrop plans for a real upper entry found below a directory.
func (r *restorer) planDrop(j *job) {
	action, method := ActRemove, MethodRemount
	if j.low != nil {
		action = ActDiscard
	}
	switch {
	case !r.opts.Discard:
		j.Action, j.Status = ActKeep, StatusKept
		return
	case r.opts.Method == MethodRemount:
	case j.low != nil && !j.isDir && !j.throughUpper && r.askKernel() == contractCurrent:
		method = MethodIoctl
	case r.opts.Method == MethodIoctl:
		j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER with OVL_RESTORE_DISCARD_UPPER", Path: j.Path, Errno: unix.EISDIR})
		return
	}
	r.intend(j, action, method)
}

// planMerged plans for an upper directory over a lower one.
func (r *restorer) planMerged(dir *openDir, j *job, at *descent) *descent {
	redirect, err := dir.layers.redirectOf(dir.upper, j.name)
	opaque := false
	if err == nil {
		opaque, err = dir.layers.isOpaque(dir.upper, j.name)
	}
	if err == nil && (redirect != "" || opaque) {
		err = r.elsewhere(at)
	}
	switch {
	case err != nil:
		r.failAt(j.Path, err)
		return nil
	case redirect != "": // another directory was moved here
		r.jobs = append(r.jobs, j)
		r.planDrop(j)
		return nil
	case opaque:
		r.jobs = append(r.jobs, j)
		if r.opts.Method == MethodIoctl {
			j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER", Path: j.Path, Errno: unix.EISDIR})
			return nil
		}
		r.intend(j, ActMerge, MethodRemount)
	}
	return &descent{
		dir:      Dir{Rel: j.rel, inUpper: true, lowers: j.low.dirs},
		path:     j.Path,
		unmerged: at.unmerged || opaque,
	}
}
