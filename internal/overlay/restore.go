// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// Restore brings lower entries back: for each path it removes the whiteout that
// hides it, makes the kernel notice, and verifies that the lower's entry shows.
// One failing path does not stop the others. There is a Result for each path,
// in their order; with Recursive, one for each deviation below it.
//
// When ctx ends, what was begun is finished and verified, and the remaining
// paths fail with EINTR.
func (o *Overlay) Restore(ctx context.Context, paths []string, opts RestoreOptions) []Result {
	var results []Result
	o.RestoreEach(ctx, paths, opts, func(r Result) { results = append(results, r) })
	return results
}

// RestoreEach is Restore for many results: it hands them out one by one. With
// Recursive, what is found is done some thousand at a time, and reported so; what
// might be in conflict with an entry that is found later comes last.
func (o *Overlay) RestoreEach(ctx context.Context, paths []string, opts RestoreOptions, report func(Result)) {
	r := newRestorer(o, opts, report)
	defer r.forget()
	for _, path := range paths {
		j := r.newJob(path)
		switch {
		case j.settled():
		case ctx.Err() != nil:
			j.fail(errInterrupted)
		case opts.Recursive:
			r.planTree(ctx, j)
		default:
			r.plan(j)
		}
		r.progress(len(r.jobs), len(paths))
	}
	r.settle(ctx, true)
}

func newRestorer(o *Overlay, opts RestoreOptions, report func(Result)) *restorer {
	if opts.Method == "" {
		opts.Method = MethodAuto
	}
	return &restorer{
		Overlay: o, opts: opts, report: report,
		restored: map[string]bool{}, byName: map[string][]*job{}, changed: map[string]*job{},
	}
}

var errInterrupted = fmt.Errorf("interrupted before it was tried: %w", unix.EINTR)

// restorer is one call of Restore.
type restorer struct {
	*Overlay
	opts     RestoreOptions
	report   func(Result)
	jobs     []*job
	kept     []keptEntries
	keptSize int
	deferred []*job            // see settle
	trees    []*job            // the directories that were walked
	restored map[string]bool   // clean paths whose entry was or will be brought back
	byName   map[string][]*job // the same, by the last component
	changed  map[string]*job   // by place in the upper: what this call changed there
	dirty    bool              // the upper was changed behind the kernel's back
	keeper   Keeper
	beside   *int // see besideUpper
	// decideAll: nothing may be left for later.
	decideAll bool
	sketch    *originSketch
	// parent is the directory that was looked up last: paths come in groups.
	parent lookedUp
}

// lowRef names the lower entry under a job.
type lowRef struct {
	dir    place // the directory that it is in; it has the job's name
	isDir  bool
	linked bool // it has other names
}

func (e *lowerEntry) ref() *lowRef {
	return &lowRef{dir: parentPlace(e.place), isDir: e.isDir(), linked: e.stat.Nlink > 1}
}

// progress reports that so many of the paths were looked at, which is as much
// work as changing them.
func (r *restorer) progress(done, total int) {
	if r.opts.Progress != nil && !r.opts.Recursive {
		r.opts.Progress(done, 2*total)
	}
}

// job is one path on its way.
type job struct {
	Result
	parent string // directory part of Path
	name   string
	rel    string  // from the overlay's root; "" until it was needed
	low    *lowRef // what lies under it, where that is known
	orphan bool    // it is known that nothing does
	isDir  bool    // the upper entry is a directory
	// throughUpper: the ioctl cannot do it, for the directory above is opaque
	// until the flush.
	throughUpper bool
	hidden       bool // has no result of its own
	deferred     bool // to be decided about later
	verify       bool
}

func (r *restorer) newJob(path string) *job {
	j := &job{Result: Result{Path: path}}
	r.jobs = append(r.jobs, j)
	clean, parent, name, err := cleanPath(path)
	if err != nil && !r.opts.Recursive {
		j.fail(err)
		return j
	}
	if clean != "" {
		j.Path = clean
	}
	j.parent, j.name = parent, name
	return j
}

func (j *job) settled() bool { return j.Status != "" }

func (j *job) fail(err error) {
	j.Status, j.Err = StatusFailed, err
}

// done says that the change is made, but for flush and verification.
func (r *restorer) done(j *job, action Action, method Method) {
	j.Action, j.Method = action, method
	j.verify = true
	r.noteRestored(j)
}

// intend plans an action for act.
func (r *restorer) intend(j *job, action Action, method Method) {
	j.Action, j.Method = action, method
	r.noteRestored(j)
}

func (r *restorer) noteRestored(j *job) {
	if !r.restored[j.Path] {
		r.restored[j.Path] = true
		r.byName[j.name] = append(r.byName[j.name], j)
	}
}

// State says what the upper holds at an absolute path. Errors are those of
// Restore, and errUnknownState's where neither the kernel nor the upper tells.
func (o *Overlay) State(path string) (ioctl.UpperState, error) {
	r := &restorer{Overlay: o, opts: RestoreOptions{Method: MethodAuto}}
	defer r.forget()
	j := r.newJob(path)
	if j.settled() {
		return ioctl.UpperState{}, j.Err
	}
	return r.state(j)
}
