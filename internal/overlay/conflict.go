// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// refuseConflicts fails the jobs that would confuse a kernel without the ioctl:
// it knows an entry by the lower inode it came from, and a file that was copied
// up and renamed, or hard-linked, still carries that inode as its origin. With
// the lower entry back under its old name, the two would share one overlay
// inode: writes to one reach the other, or one of them becomes ESTALE.
func (r *restorer) refuseConflicts(ctx context.Context, jobs []*job) error {
	s := originScan{
		layers:  r.layers(),
		wanted:  map[string]*job{},
		paths:   map[string]*job{},
		dropped: map[string]bool{},
	}
	lowDir := openPlace{fd: -1}
	defer lowDir.close()
	sketch := r.sketch // nil where all is done at once
	for _, j := range jobs {
		if j.Action == ActDiscard || j.Action == ActRemove {
			s.dropped[j.rel] = true
		}
		if j.settled() || j.Action != ActRestore && j.Action != ActDiscard || j.Method == MethodIoctl && r.askKernel() == contractCurrent {
			continue
		}
		if j.low == nil {
			continue // nothing to confuse, as far as can be seen
		}
		if conflict := r.indexConflict(j.low); conflict != nil {
			if conflict.Final || !r.opts.Force {
				j.fail(conflict)
			}
			continue
		}
		if !r.opts.Force {
			handle := ""
			if r.Mount.Config.followsOrigins(s.layers.lowers[j.low.dir.layer]) {
				handle = handleIn(s.layers, &lowDir, j)
			}
			if sketch == nil && !r.decideAll || sketch != nil && sketch.of != s.layers.upper {
				var err error
				if sketch, err = r.readSketch(ctx, s.layers); err != nil {
					return err
				}
			}
			switch {
			case sketch != nil && !r.suspects(sketch, j, handle):
			case r.decideAll:
				s.want(j, handle)
			default:
				j.deferred = true
			}
		}
	}
	r.forget()
	if len(s.wanted) == 0 && len(s.paths) == 0 {
		return nil
	}
	if r.opts.DryRun && r.opts.Discard {
		s.goes = r.inTrees
	}
	return s.run(ctx)
}

// inTrees says whether an entry of the upper is in a directory that was walked.
func (r *restorer) inTrees(rel string) bool {
	for _, top := range r.trees {
		if _, ok := below(top.rel, rel); ok || top.rel == "." {
			return true
		}
	}
	return false
}

// followsOrigins says whether the kernel looks the origins of upper entries up in
// a lower. In a squashfs, which has no UUID, it does so only with a feature that
// needs it: images that are made anew give the same numbers to other files.
func (c *Config) followsOrigins(lower *Layer) bool {
	const squashfs = 0x73717368
	var fs unix.Statfs_t
	if unix.Fstatfs(lower.fd(), &fs) != nil || uint32(fs.Type) != squashfs {
		return true
	}
	return c.Index || c.NFSExport || c.Xino || c.Redirect == "on" || c.Metacopy || defaultsFollow()
}

// defaultsFollow says that one of those features is on unless a mount forbids it.
var defaultsFollow = sync.OnceValue(func() bool {
	for _, name := range []string{"index", "redirect_dir", "metacopy"} {
		value, err := os.ReadFile("/sys/module/overlay/parameters/" + name)
		if err == nil && strings.HasPrefix(string(value), "Y") {
			return true
		}
	}
	return false
})

// want looks for other entries that come from the one below a job. A copy of a
// file with several links has broken with its origin, and shares nothing with it.
func (s *originScan) want(j *job, handle string) {
	switch {
	case j.low.isDir: // the kernel finds directories by their names
		s.paths[j.rel] = j
		return
	case j.low.linked:
		return
	}
	if handle != "" {
		s.wanted[handle] = j
	}
}

// indexConflict applies the rules for overlays that keep an index.
func (r *restorer) indexConflict(low *lowRef) *ConflictError {
	switch {
	case r.Mount.Config.NFSExport:
		return &ConflictError{
			Reason: "the overlay is mounted with nfs_export=on: its index says that the entry was deleted, and would make it unreadable",
			Final:  true,
		}
	case r.Mount.Config.Index && !low.isDir && low.linked:
		return &ConflictError{Reason: "the lower entry is hard-linked and the overlay is mounted with index=on, whose link count would go wrong"}
	}
	return nil
}

// openPlace is a directory of a lower, kept open: jobs come in groups.
type openPlace struct {
	place
	fd int // -1 for none
}

func (p *openPlace) close() {
	if p.fd >= 0 {
		closeFD(p.fd)
	}
	p.fd = -1
}

// handleIn names the lower inode of a job as the overlay's origin xattrs do: by
// its file handle. "" where the file system has none; no origin can name it then.
func handleIn(layers *Layers, at *openPlace, j *job) string {
	if at.fd < 0 || at.place != j.low.dir {
		at.close()
		var err error
		at.place = j.low.dir
		if at.fd, err = openBeneath(layers.lowers[at.layer].fd(), at.rel, unix.O_PATH|unix.O_DIRECTORY); err != nil {
			at.fd = -1
			return ""
		}
	}
	return handleAt(at.fd, j.name)
}

func handleAt(dir int, name string) string {
	handle, _, err := unix.NameToHandleAt(dir, name, unix.AT_EMPTY_PATH)
	if err != nil {
		return ""
	}
	return handleKey(byte(handle.Type()), handle.Bytes())
}

func handleKey(kind byte, fid []byte) string { return string(kind) + string(fid) }

// Offsets in the value of the origin xattr, struct ovl_fb of the kernel's
// fs/overlayfs/overlayfs.h.
const (
	fbMagic  = 1 // 0xfb
	fbType   = 4
	fbUUID   = 5
	fbHeader = 21 // version, magic, len, flags, type, 16 bytes of uuid
)

// originKey reads an origin xattr; "" for one that names nothing.
func originKey(value []byte) string {
	if len(value) <= fbHeader || value[fbMagic] != 0xfb {
		return ""
	}
	return handleKey(value[fbType], value[fbHeader:])
}

// originScan walks the upper once and fails every job whose lower entry is the
// origin of an upper entry elsewhere. The maps are only read while it walks.
type originScan struct {
	layers  *Layers
	sketch  *originSketch   // if not nil, only this is filled
	wanted  map[string]*job // by file handle of the lower entry
	paths   map[string]*job // the directories among them, by path
	dropped map[string]bool // upper entries that go in the same call
	// goes, if not nil, says that an entry goes later in the same call.
	goes  func(rel string) bool
	found map[*node][]conflict
	mu    sync.Mutex // of found
}

// conflict is an upper entry that comes from the lower entry of a job.
type conflict struct {
	job *job
	*ConflictError
}

func (s *originScan) run(ctx context.Context) error {
	c := comparer{layers: s.layers}
	s.found = map[*node][]conflict{}
	w := &walk{visit: c.visitor(s.look)}
	// One says of each job why it fails: the first in the order of the walk.
	w.report = func(n *node, _ *record) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.found[n] {
			if !c.job.settled() {
				c.job.fail(c.ConflictError)
			}
		}
		delete(s.found, n)
		return nil
	}
	w.failed = func(rel string, err error) error {
		return fmt.Errorf("look for the origins of renamed entries in %q: %w", rel, err)
	}
	err := w.run(ctx, &node{})
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// look looks at the entries of one upper directory.
func (s *originScan) look(d *openNode) error {
	var found []conflict
	err := d.entries(false, func(e *dirent) error {
		if err := d.knowType(e); err != nil {
			return err
		}
		if e.typ == unix.DT_CHR {
			if white, err := d.isWhiteout(e); white || err != nil {
				return err
			}
		}
		at := ""
		if len(s.dropped) > 0 {
			if at = joinRel(d.rel, string(e.name)); s.dropped[at] {
				return nil
			}
		}
		if e.typ == unix.DT_DIR {
			d.n.add(e.name, record{kind: isDirectory})
		}
		list, err := listXattrs(d.dir.upper, e.name, &d.s.lists[0])
		if err != nil || len(list) == 0 {
			return err
		}
		for _, look := range []func(*openNode, []byte, *dirent) (*job, string, error){s.origin, s.redirect} {
			j, reason, err := look(d, list, e)
			if err != nil {
				return err
			}
			if at == "" && j != nil {
				at = joinRel(d.rel, string(e.name))
			}
			if j != nil && j.rel != at && (s.goes == nil || !s.goes(at)) {
				found = append(found, conflict{j, &ConflictError{Reason: reason, Other: at}})
			}
		}
		return nil
	})
	if len(found) > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		sortBy(found, func(i, j int) bool { return found[i].Other < found[j].Other })
		s.found[d.n] = found
		d.n.hasSelf = true
	}
	return err
}

// origin finds the job whose lower entry is an upper entry's origin.
func (s *originScan) origin(d *openNode, list []byte, e *dirent) (*job, string, error) {
	if e.typ == unix.DT_DIR || !listHas(list, s.layers.prefix, xattrOrigin) {
		return nil, "", nil // that of a directory is of no consequence
	}
	value, err := s.layers.xattr(d.dir.upper, string(e.name), xattrOrigin)
	if s.sketch != nil {
		s.sketch.add(originKey(value))
		return nil, "", err
	}
	return s.wanted[originKey(value)], "its lower entry lives on under another name", err
}

// redirect finds the job whose lower directory an upper one shows.
func (s *originScan) redirect(d *openNode, list []byte, e *dirent) (*job, string, error) {
	if len(s.paths) == 0 && s.sketch == nil || e.typ != unix.DT_DIR || !listHas(list, s.layers.prefix, xattrRedirect) {
		return nil, "", nil
	}
	value, err := s.layers.xattr(d.dir.upper, string(e.name), xattrRedirect)
	from := joinRel(d.rel, string(value))
	if bytes.HasPrefix(value, []byte("/")) {
		from = strings.TrimPrefix(string(value), "/")
	}
	if s.sketch != nil {
		s.sketch.add(dirKey(from))
		return nil, "", err
	}
	return s.paths[from], "its lower directory was renamed, and is merged there", err
}
