// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"os"
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
	if err != nil {
		top.fail(err)
		return
	}
	// What was named before is done before the walk sees it.
	r.jobs = r.jobs[:len(r.jobs)-1]
	if len(r.jobs) > 0 {
		r.settle(ctx, false)
	}
	top.rel = dir.rel
	r.trees = append(r.trees, top)
	for err = errUpperMoved; err == errUpperMoved; { //nolint:errorlint // our own
		err = r.planDir(ctx, top, dir.rel)
	}
	if err != nil {
		r.failAt(top.Path, err)
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
		r.jobs = append(r.jobs, top)
		return nil
	}
	path := strings.TrimRight(top.Path, "/")
	parent, name := splitRel(rel)
	if rel == "." || name != top.name { // it is mounted there, and perhaps called otherwise
		return r.walkTree(ctx, path, &node{name: strings.TrimPrefix(rel, "."), image: d.lowers})
	}
	if d, err = layers.dirAt(parent); err != nil {
		return err
	}
	return r.walkTree(ctx, parentPath(path), &node{name: strings.TrimPrefix(parent, "."), image: d.lowers, only: []string{name}})
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

func (r *restorer) failAt(path string, err error) {
	if path == "" {
		path = "/"
	}
	r.jobs = append(r.jobs, &job{Result: Result{Path: path, Status: StatusFailed, Err: err}})
}

// planDrop plans for a real upper entry found below a directory.
func (r *restorer) planDrop(j *job) {
	action, method := ActRemove, MethodRemount
	if j.low != nil {
		action = ActDiscard
	}
	switch {
	case r.opts.Method == MethodRemount:
	case j.low != nil && !j.isDir && !j.throughUpper && r.askKernel() == contractCurrent:
		method = MethodIoctl
	case r.opts.Method == MethodIoctl:
		errno := unix.EISDIR
		if r.askKernel() == contractNone {
			errno = unix.ENOTTY
		}
		j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER with OVL_RESTORE_DISCARD_UPPER", Path: j.Path, Errno: errno})
		return
	}
	r.intend(j, action, method)
}
