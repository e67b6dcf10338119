// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// Method is how lower entries are brought back.
type Method string

// The methods. MethodAuto takes the ioctl where the kernel has it.
const (
	MethodAuto    Method = "auto"
	MethodIoctl   Method = "ioctl"
	MethodRemount Method = "remount" // change the upper, then flush the overlay's caches
)

// Action is what is done about a path.
type Action string

// The actions of Restore.
const (
	ActRestore Action = "restore" // remove the whiteout
	ActDiscard Action = "discard" // drop the upper entry, the lower one shows again
	ActRemove  Action = "remove"  // drop an upper entry that nothing lies under
	ActMerge   Action = "merge"   // make an opaque directory merge with the lower one
	ActRefresh Action = "refresh" // the upper is as it should be, only caches are stale
	ActNone    Action = "none"    // nothing: another path of the same call brings it back
	ActKeep    Action = "keep"    // left alone, Discard was not asked for
)

// Status is how it ended.
type Status string

// The outcomes of a path.
const (
	StatusDone    Status = "done"    // verified in the merged view
	StatusPlanned Status = "planned" // a dry run would do it
	StatusKept    Status = "kept"
	StatusSkipped Status = "skipped" // not hidden, and SkipVisible was asked for
	StatusBusy    Status = "busy"    // the upper is right, but somebody holds the old entry open
	StatusFailed  Status = "failed"
)

// Result is what became of one path.
type Result struct {
	Path    string // absolute, as the caller named it, without trailing slashes
	Action  Action // "" where it did not come so far
	Method  Method // "" likewise
	Status  Status
	Backup  string // where the dropped upper entry is
	Holders []Holder
	Err     error // set for StatusFailed and StatusBusy
}

// Keeper takes upper entries into safe keeping before they are dropped. What it
// returns is durable on disk, and says where the entry is.
type Keeper interface {
	// Link keeps a hard link of dirfd/name; the entry itself stays.
	Link(dirfd int, name, rel string) (where string, err error)
	// Move takes dirfd/name away, whatever it is. An error with where set says
	// that it is there, but perhaps not durable.
	Move(dirfd int, name, rel string) (where string, err error)
	// Note records something else that is about to be dropped.
	Note(what, rel string) error
}

// RestoreOptions say how far Restore goes.
type RestoreOptions struct {
	Method    Method
	Recursive bool // restore every deviation below a directory
	Discard   bool // also drop real upper entries; needs Keeper
	DryRun    bool // change nothing, say what would be done
	Force     bool // go ahead in spite of a ConflictError
	// KeepWhiteouts tells the keeper of each whiteout before it goes, so that it
	// can be put back; then no whiteout is removed without reaching the upper.
	KeepWhiteouts bool
	// SkipVisible: a path that nothing hides, or that lies elsewhere, is no
	// failure. For lists that name more than was deleted.
	SkipVisible bool
	// Keeper is asked for when the first entry is about to be dropped, with the
	// proven upper.
	Keeper func(upper *Layer) (Keeper, error)
	// Progress, if not nil, is told after each path how much of the work is done.
	Progress func(done, total int)
	// Looked, if not nil, counts the upper entries that were looked at with
	// Recursive, while the tree is read.
	Looked *atomic.Int64
}

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

// RestoreEach is Restore for many results: it hands them out one by one, when all
// is done.
func (o *Overlay) RestoreEach(ctx context.Context, paths []string, opts RestoreOptions, report func(Result)) {
	if opts.Method == "" {
		opts.Method = MethodAuto
	}
	r := &restorer{Overlay: o, opts: opts, restored: map[string]bool{}, byName: map[string][]*job{}, changed: map[string]*job{}}
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
		r.progress(len(r.jobs), max(len(r.jobs), len(paths)))
	}
	r.finish(ctx)
	for i, j := range r.jobs {
		r.reportKept(i, report)
		if !j.hidden {
			report(j.Result)
		}
	}
	r.reportKept(len(r.jobs), report)
}

// keptEntries are entries of a directory that were kept, between two jobs.
type keptEntries struct {
	after int // so many jobs
	dir   string
	names []byte // each with a NUL behind it
}

// reportKept reports what was kept after so many jobs.
func (r *restorer) reportKept(after int, report func(Result)) {
	for len(r.kept) > 0 && r.kept[0].after == after {
		k := r.kept[0]
		r.kept = r.kept[1:]
		for len(k.names) > 0 {
			var name string
			name, k.names = cutName(k.names)
			report(Result{Path: k.dir + "/" + name, Action: ActKeep, Status: StatusKept})
		}
	}
}

// finish does what was planned, and verifies it.
func (r *restorer) finish(ctx context.Context) {
	r.forget()
	r.act(ctx)
	r.closeBeside()
	r.flushOnce()
	r.verify()
}

var errInterrupted = fmt.Errorf("interrupted before it was tried: %w", unix.EINTR)

// restorer is one call of Restore.
type restorer struct {
	*Overlay
	opts     RestoreOptions
	jobs     []*job
	kept     []keptEntries
	restored map[string]bool   // clean paths whose entry was or will be brought back
	byName   map[string][]*job // the same, by the last component
	changed  map[string]*job   // by place in the upper: what this call changed there
	dirty    bool              // the upper was changed behind the kernel's back
	keeper   Keeper
	beside   *int // see besideUpper
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
	if r.opts.Progress != nil {
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

// plan decides what to do about one path. With a current kernel's ioctl, and
// nothing else asked for, it is done at once: one system call.
func (r *restorer) plan(j *job) {
	contract := contractNone
	if r.opts.Method != MethodRemount {
		contract = r.askKernel()
	}
	switch {
	case contract == contractCurrent && !j.throughUpper:
		r.planCurrent(j)
	case contract == contractFirst && !j.throughUpper:
		r.planFirst(j)
	case r.opts.Method == MethodIoctl:
		j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER", Path: j.Path, Errno: unix.ENOTTY})
	default:
		r.planRemount(j)
	}
}

func (r *restorer) planCurrent(j *job) {
	path, release, err := systemPath(j)
	if err != nil {
		r.missingParent(j, err)
		return
	}
	defer release()
	later := r.opts.DryRun || r.opts.KeepWhiteouts
	if later {
		err = r.kernel.IsRestorable(path)
	} else {
		err = r.kernel.RestoreLower(path, 0)
	}
	switch {
	case err == nil && later:
		r.intend(j, ActRestore, MethodIoctl)
	case err == nil:
		r.done(j, ActRestore, MethodIoctl)
	case errors.Is(err, ioctl.ErrNothing):
		r.nothing(j)
	case errors.Is(err, ioctl.ErrNoLower):
		j.Action, j.Method = ActRestore, MethodIoctl
		if later && !r.opts.DryRun { // over nothing, but a whiteout
			r.intend(j, ActRestore, MethodIoctl)
			return
		}
		j.fail(&NoLowerError{WhiteoutGone: !r.opts.DryRun})
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		r.missingParent(j, err)
	case errors.Is(err, ioctl.ErrRefused):
		r.refused(j, err)
	case errors.Is(err, ioctl.ErrOtherFS) && r.opts.SkipVisible:
		j.Status = StatusSkipped
	default:
		j.fail(err)
	}
}

// refused: the kernel will not, by rule. Force takes the other way.
func (r *restorer) refused(j *job, err error) {
	if r.opts.Force && r.opts.Method == MethodAuto {
		r.planRemount(j)
		return
	}
	j.fail(&ConflictError{Reason: "the kernel refuses: " + err.Error()})
}

// planFirst is for kernels of the first contract, whose errnos are ambiguous:
// the state is read first, where it can be.
func (r *restorer) planFirst(j *job) {
	st, err := r.state(j)
	switch {
	case err == nil && st.State != ioctl.StateWhiteout:
		r.nothing(j)
	case err != nil && !errors.Is(err, errUnknownState):
		r.missingParent(j, err)
	default:
		r.intend(j, ActRestore, MethodIoctl)
	}
}

// planRemount decides by what the upper holds.
func (r *restorer) planRemount(j *job) {
	st, err := r.state(j)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EXDEV):
		r.missingParent(j, err)
	case err != nil:
		j.fail(err)
	case st.State != ioctl.StateWhiteout:
		r.nothing(j)
	default:
		r.planWhiteout(j)
	}
}

func (r *restorer) planWhiteout(j *job) {
	if j.low == nil {
		low, found, err := r.lowerOf(j)
		j.orphan = err == nil && !found && r.sureOfLowers()
		if err == nil && found {
			j.low = low.ref()
		}
	}
	if j.orphan && r.opts.DryRun {
		j.Action, j.Method = ActRestore, MethodRemount
		j.fail(&NoLowerError{})
		return
	}
	r.intend(j, ActRestore, MethodRemount)
}

// nothing handles a path with no whiteout: a real upper entry to discard, a
// stale cache, or nothing to do at all.
func (r *restorer) nothing(j *job) {
	st, err := r.state(j)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			r.missingParent(j, err)
			return
		}
		j.fail(err)
		return
	}
	switch st.State {
	case ioctl.StateUpper:
		r.planDiscard(j, st)
	case ioctl.StateWhiteout: // came since, or an early kernel did not see it
		r.planWhiteout(j)
	default:
		r.planUnhidden(j, st)
	}
}

// planDiscard is for a real upper entry at a path that was named.
func (r *restorer) planDiscard(j *job, st ioctl.UpperState) {
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !r.opts.Discard || isDir {
		if r.opts.SkipVisible {
			j.Status = StatusSkipped
			return
		}
		j.fail(&NothingError{State: st.State, IsDir: isDir})
		return
	}
	low, found, err := r.lowerOf(j)
	if err == nil && !found {
		j.Action = ActDiscard
		j.fail(&NoLowerError{})
		return
	}
	if err == nil {
		j.low = low.ref()
	}
	if r.opts.Method != MethodRemount && r.askKernel() == contractCurrent {
		r.intend(j, ActDiscard, MethodIoctl)
		return
	}
	if err != nil { // without the kernel's own check, the lower must be known
		j.fail(err)
		return
	}
	if r.opts.Method == MethodIoctl {
		j.fail(&ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER with OVL_RESTORE_DISCARD_UPPER", Path: j.Path, Errno: unix.EINVAL})
		return
	}
	r.intend(j, ActDiscard, MethodRemount)
}

// planUnhidden is for a path that the upper does not have.
func (r *restorer) planUnhidden(j *job, st ioctl.UpperState) {
	if r.broughtBack(j.Path) || r.broughtBackAs(j) {
		j.Action, j.verify = ActNone, !r.opts.DryRun
		if r.opts.DryRun {
			j.Status = StatusPlanned
		}
		return
	}
	got, visible := r.visible(j)
	low, found, err := r.lowerOf(j)
	stale := err == nil && found && (!visible || got.Nlink == 0 || !equalAttributes(&low.stat, &got))
	switch {
	case stale && r.opts.Method != MethodIoctl:
		// Somebody changed the upper by hand, or held the old entry open until
		// now: the kernel has not noticed.
		r.intend(j, ActRefresh, MethodRemount)
		r.dirty = r.dirty || !r.opts.DryRun
		j.verify = !r.opts.DryRun
	case visible && r.opts.SkipVisible:
		j.Status = StatusSkipped
	case visible:
		j.fail(&NothingError{State: st.State, Visible: true})
	default:
		r.opaqueParent(j, st)
	}
}

// broughtBack says whether this call restores path or a directory above it.
func (r *restorer) broughtBack(path string) bool {
	for path != "" {
		if r.restored[path] {
			return true
		}
		path = parentPath(path)
	}
	return false
}

// broughtBackAs says whether this call restores the same entry by another
// spelling of its path.
func (r *restorer) broughtBackAs(j *job) bool {
	if _, err := r.resolveParent(j); err != nil {
		return false
	}
	for _, other := range r.byName[j.name] {
		if other.rel == "" {
			if _, err := r.resolveParent(other); err != nil {
				continue
			}
		}
		if other.rel == j.rel {
			return true
		}
	}
	return false
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
