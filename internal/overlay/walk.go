// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// walk reads a tree of directories with several threads, and hands out what was
// found in the order of one: the entries of a directory by name, each directory
// before what is in it.
//
// What was read and not yet handed out is bounded. The one goroutine that hands
// out never waits while there is a directory to read: it reads the one that it
// needs next, if nobody has it, and otherwise the first that nobody has. So with
// one processor it is a plain walk in its own goroutine.
type walk struct {
	// visit reads a directory and fills its results.
	visit func(s *scratch, n *node) error
	// report hands out a record of a directory, and failed what could not be read
	// there.
	report func(n *node, r *record) error
	failed func(path string, err error) error

	mu      sync.Mutex
	changed sync.Cond // a directory was read, there is one to read, or it is over
	// The frontier: directories in the order of the walk that are not read yet, or
	// have directories in them that are in no hands yet.
	first   *node
	held    int // the size of results not yet handed out
	waiting int // goroutines in changed.Wait
	err     error
	over    atomic.Bool

	// The directory whose records are handed out, and its path.
	named    *node
	namedRel string
}

// heldMax is when the others stop and wait for the one that hands out.
const heldMax = 2 << 20

// node is a directory in a walk.
type node struct {
	parent *node
	name   string   // of the top, where it is in the upper; "" for the upper's root
	only   []string // if not empty, only this path below it is of interest

	// What is known of it from its parent: see compare.go.
	imageType uint32
	image     []place
	covered   bool

	results
	self      record // what is to report of the directory itself
	selfExtra extra
	hasSelf   bool
	dev       uint64 // of the upper directory, where it was asked for
	failures  []failure

	read       bool
	taken      bool
	started    []*node // of its directories, those in hands, not yet handed out
	unstarted  int     // where in recs to look for the next that is not
	pos        int     // where in recs handing out has got to
	prev, next *node
}

// failure is what could not be read.
type failure struct {
	path string
	err  error
}

// results are what was found in a directory, in little memory.
type results struct {
	recs   []record
	names  []byte
	extra  []extra
	beside int // bytes that visit keeps elsewhere until they are handed out
}

// record is one entry of a directory.
type record struct {
	off      uint32 // its name in names
	extra    int32  // 1 + its index in extra; 0 for none
	len      uint8
	kind     Kind // or isDirectory
	typ      uint8
	image    uint8
	fields   uint8
	compared Compared
	layer    uint16 // which of the image's directories has it, for a walk that asks
}

// isDirectory is the kind of a record that stands for a directory to walk; what
// there is to report of it is found there.
const isDirectory = numKinds

// extra is what few records have.
type extra struct {
	hides int64
	from  string
	image []place
}

func (r *results) add(name []byte, rec record) *record {
	rec.off, rec.len = uint32(len(r.names)), uint8(len(name))
	r.names = append(r.names, name...)
	r.recs = append(r.recs, rec)
	return &r.recs[len(r.recs)-1]
}

func (r *results) more(rec *record) *extra {
	if rec.extra == 0 {
		r.extra = append(r.extra, extra{})
		rec.extra = int32(len(r.extra))
	}
	return &r.extra[rec.extra-1]
}

func (r *results) nameOf(rec *record) []byte { return r.names[rec.off:][:rec.len] }

func (r *results) sort() {
	slices.SortFunc(r.recs, func(a, b record) int { return bytes.Compare(r.nameOf(&a), r.nameOf(&b)) })
}

func (r *results) size() int { return r.beside + 16*cap(r.recs) + cap(r.names) + 56*cap(r.extra) }

// rel is the directory's path from the root of the upper.
func (n *node) rel() string {
	length := -1
	for at := n; at != nil && at.name != ""; at = at.parent {
		length += len(at.name) + 1
	}
	if length < 0 {
		return "."
	}
	path := make([]byte, length)
	end := length
	for at := n; at != nil && at.name != ""; at = at.parent {
		end -= copy(path[end-len(at.name):], at.name)
		if end > 0 {
			end--
			path[end] = '/'
		}
	}
	return string(path)
}

// pathOf is the path of one of a directory's records. Only handing out may ask.
func (w *walk) pathOf(n *node, r *record) string {
	if w.named != n {
		w.named, w.namedRel = n, n.rel()
	}
	if r == &n.self {
		return w.namedRel
	}
	return joinRel(w.namedRel, string(n.nameOf(r)))
}

// scratch is what one goroutine reads into.
type scratch struct {
	walk         *walk
	upper, lower dirents
	names        nameSet
	lists        [2][]byte
	values       [2][]byte
	content      [2][]byte
	found        results // the slices of a small directory's results, to be used again
	whiteout     inode   // a whiteout that many names share
}

type inode struct{ dev, ino uint64 }

// run walks the tree below top until it is through, ctx is done, or something
// fails. No goroutine is left when it returns.
func (w *walk) run(ctx context.Context, top *node) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.changed.L = &w.mu
	w.first = top
	stop := context.AfterFunc(ctx, func() { w.finish(context.Cause(ctx)) })
	defer stop()
	var helpers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) - 1 {
		helpers.Go(w.help)
	}
	err := w.handOut(ctx, top)
	w.finish(err)
	helpers.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// finish ends the walk; the first cause is the one that counts.
func (w *walk) finish(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over.Swap(true) {
		w.err = err
	}
	w.changed.Broadcast()
}

// help reads directories until the walk is over.
func (w *walk) help() {
	s := &scratch{walk: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.over.Load() {
		n := w.take()
		if n == nil {
			w.wait()
			continue
		}
		w.readLocked(s, n)
	}
}

func (w *walk) wait() {
	w.waiting++
	w.changed.Wait()
	w.waiting--
}

func (w *walk) wakeAll() {
	if w.waiting > 0 {
		w.changed.Broadcast()
	}
}

// readLocked reads a directory that was taken, with the lock given up meanwhile.
func (w *walk) readLocked(s *scratch, n *node) {
	w.mu.Unlock()
	n.results = results{recs: s.found.recs[:0], names: s.found.names[:0]}
	err := w.visit(s, n)
	s.keepSlices(&n.results)
	w.mu.Lock()
	if err != nil && !w.over.Swap(true) {
		w.err = err
	}
	n.read = true
	w.held += n.size()
	w.wakeAll()
}

// keepSlices gives results slices of their own size, and keeps the larger ones
// for the next directory.
func (s *scratch) keepSlices(r *results) {
	if cap(r.recs) > 1<<12 {
		s.found = results{} // a copy would cost more than it saves
		return
	}
	s.found = *r
	r.recs, r.names = slices.Clone(r.recs), slices.Clone(r.names)
}

// take finds the first directory that nobody reads, if there is room for it.
func (w *walk) take() *node {
	if w.held > heldMax {
		return nil
	}
	for at := w.first; at != nil; {
		next := at.next
		switch {
		case !at.taken:
			at.taken = true
			return at
		case at.read:
			if n := w.startNext(at); n != nil {
				n.taken = true
				return n
			}
		}
		at = next
	}
	return nil
}

// startNext makes the node of the next directory in at; where there is none, at
// leaves the frontier.
func (w *walk) startNext(at *node) *node {
	for ; at.unstarted < len(at.recs); at.unstarted++ {
		r := &at.recs[at.unstarted]
		if r.kind != isDirectory {
			continue
		}
		at.unstarted++
		n := at.makeChild(r)
		n.prev, n.next = at.prev, at
		if at.prev == nil {
			w.first = n
		} else {
			at.prev.next = n
		}
		at.prev = n
		at.started = append(at.started, n)
		return n
	}
	w.leave(at)
	return nil
}

func (w *walk) leave(n *node) {
	if n.prev == nil && w.first != n {
		return // it has left
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		w.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
}

// makeChild makes the node of a directory that was found.
func (n *node) makeChild(r *record) *node {
	child := &node{
		parent: n, name: string(n.nameOf(r)),
		imageType: modeTypeOf(r.image), covered: n.covered,
	}
	if len(n.only) > 1 {
		child.only = n.only[1:]
	}
	switch {
	case r.extra != 0:
		child.image = n.extra[r.extra-1].image
	case child.imageType == modeDir:
		child.image = []place{{n.image[0].layer, joinRel(n.image[0].rel, child.name)}}
	}
	return child
}

// handOut walks the tree in order, and reports.
func (w *walk) handOut(ctx context.Context, at *node) error {
	s := &scratch{walk: w}
	for at != nil {
		if at.pos == 0 {
			if !w.need(s, at) {
				return nil // over: whoever ended it has said why
			}
			if err := w.handOutSelf(at); err != nil {
				return err
			}
		}
		child, err := w.handOutRecords(ctx, at)
		if err != nil {
			return err
		}
		if child != nil {
			at = child
			continue
		}
		at = w.done(at)
	}
	return nil
}

func (w *walk) handOutSelf(at *node) error {
	if at.hasSelf {
		if err := w.report(at, &at.self); err != nil {
			return err
		}
	}
	for _, f := range at.failures {
		if err := w.failed(f.path, f.err); err != nil {
			return err
		}
	}
	return nil
}

// handOutRecords reports the records up to the next directory.
func (w *walk) handOutRecords(ctx context.Context, at *node) (child *node, err error) {
	for at.pos < len(at.recs) {
		if w.over.Load() || ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r := &at.recs[at.pos]
		at.pos++
		if r.kind == isDirectory {
			return w.nextChild(at), nil
		}
		if err := w.report(at, r); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// nextChild takes the next directory of at into hands.
func (w *walk) nextChild(at *node) (child *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(at.started) == 0 {
		w.startNext(at)
	}
	child, at.started = at.started[0], at.started[1:]
	return child
}

// need sees to it that a directory is read. It is false when the walk is over.
func (w *walk) need(s *scratch, n *node) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !n.read && !w.over.Load() {
		next := n
		if n.taken {
			next = w.take()
		}
		if next == nil {
			w.wait()
			continue
		}
		next.taken = true
		w.readLocked(s, next)
	}
	return !w.over.Load()
}

// done lets go of a directory that was handed out and returns the one above.
func (w *walk) done(n *node) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave(n)
	w.held -= n.size()
	n.results = results{}
	w.wakeAll()
	return n.parent
}

// onlyPath splits a path for node.only.
func onlyPath(rel string) []string {
	if rel == "." {
		return nil
	}
	return strings.Split(rel, "/")
}
