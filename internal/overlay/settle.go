// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
)

// A tree may have a million deviations. So the jobs of a walk are settled some
// thousand at a time: done, verified, reported, and forgotten.
var settleJobs = 2048 // so many; the tests have fewer

const (
	settleKept  = 256 << 10 // bytes that the names of what is kept may take
	deferredMax = 8192      // jobs that may wait for what is found later
)

// keptEntries are entries of a directory that were kept, between two jobs.
type keptEntries struct {
	after int // so many jobs
	dir   string
	names []byte // each with a NUL behind it
}

// settleFull settles where it is time to.
func (r *restorer) settleFull(ctx context.Context) {
	if len(r.jobs) >= settleJobs || r.keptSize >= settleKept {
		r.settle(ctx, len(r.deferred) >= deferredMax)
	}
}

// settle does what was planned, verifies and reports it. All of it, or all but
// what may be in conflict with an entry that is still to be dropped: that is
// decided later.
func (r *restorer) settle(ctx context.Context, all bool) {
	if all {
		for _, j := range r.deferred {
			j.deferred = false
		}
		r.jobs, r.deferred = append(r.jobs, r.deferred...), nil
	}
	r.decideAll = all
	r.finish(ctx)
	for i, j := range r.jobs {
		r.reportKept(i)
		switch {
		case j.deferred:
			r.deferred = append(r.deferred, j)
		case !j.hidden:
			r.report(j.Result)
		}
	}
	r.reportKept(len(r.jobs))
	r.jobs, r.kept, r.keptSize, r.dirty = nil, nil, 0, false
	clear(r.restored)
	clear(r.byName)
	clear(r.changed)
}

// reportKept reports what was kept after so many jobs.
func (r *restorer) reportKept(after int) {
	for len(r.kept) > 0 && r.kept[0].after == after {
		k := r.kept[0]
		r.kept = r.kept[1:]
		for len(k.names) > 0 {
			var name string
			name, k.names = cutName(k.names)
			r.report(Result{Path: k.dir + "/" + name, Action: ActKeep, Status: StatusKept})
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

// errUpperMoved: the upper that a walk reads is not the one that was proven, and
// is closed. What else was read of it does not count.
var errUpperMoved = errors.New("the upper was found elsewhere")
