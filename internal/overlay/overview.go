// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Overview is what there is to know about an overlay. To learn it, nothing is
// written, and nothing is tried.
type Overview struct {
	Mount   Mount
	Runtime string // see Mount.Runtime

	Upper  *LayerStatus // nil where there is none, or it was not reached: UpperErr
	Work   *LayerStatus // nil where it was not found
	Lowers []LayerStatus
	// UpperErr and LowersErr say why layers were not reached.
	UpperErr, LowersErr error

	Options Effective
	Method  MethodStatus
	Image   Image

	// Counts and the bytes are nil where CountErr says why it was not counted.
	Counts   *Counts
	Bytes    *Bytes
	CountErr error
}

// LayerStatus is one layer and the file system that it is on.
type LayerStatus struct {
	*Layer
	FileSystem
}

// FileSystem is where a layer is.
type FileSystem struct {
	Type   string // "" where no visible mount tells
	Source string // its device, as a rule
	Size   int64  // bytes
	Free   int64  // bytes that users without privileges can have
}

// Counts are numbers of deviations, by kind.
type Counts [numKinds]int64

// Bytes are room on the upper's file system.
type Bytes struct {
	Upper     int64 // all of the upper
	Redundant int64 // copies that are equal to what the image has, by size and time
}

// MethodStatus says how lower entries can be brought back.
type MethodStatus struct {
	Method     Method // "" for not at all
	Generation int    // of the ioctl's interface: 0 where the kernel has none
	Err        error  // why not at all
}

// Effective are the options that matter, as the kernel applies them: those that a
// mount does not set come from the module's parameters.
type Effective struct {
	Index, NFSExport, Metacopy, UserXattr, Volatile bool
	Redirect                                        string // on, follow or nofollow
}

// Overview looks at an overlay. What cannot be learnt is said in it: when ctx
// ends, that is how much differs. looked, if not nil, counts the upper entries
// that were looked at, while it goes on.
func (o *Overlay) Overview(ctx context.Context, looked *atomic.Int64) *Overview {
	s := &Overview{Mount: o.Mount, Runtime: o.Mount.Runtime(), Options: o.Mount.Config.effective()}
	upper, err := o.Upper()
	switch {
	case err == nil:
		s.Upper = o.layerStatus(upper)
	case !errors.Is(err, errNoUpper):
		s.UpperErr = err
	}
	if work, err := o.work(); err == nil {
		s.Work = o.layerStatus(work)
		_ = work.root.Close()
	}
	lowers, err := o.Lowers()
	s.LowersErr = err
	for _, l := range lowers {
		s.Lowers = append(s.Lowers, *o.layerStatus(l))
	}
	s.Method = o.methodStatus(s.Upper != nil)
	if s.LowersErr == nil {
		s.Image = identify(lowers)
	}
	if s.Upper == nil {
		return s
	}
	s.CountErr = s.count(ctx, o, looked)
	return s
}

func (o *Overlay) layerStatus(l *Layer) *LayerStatus {
	s := &LayerStatus{Layer: l}
	var fs unix.Statfs_t
	if unix.Fstatfs(l.fd(), &fs) == nil {
		block := int64(fs.Bsize) //nolint:unconvert // 32 bits on some machines
		s.Size = int64(fs.Blocks) * block
		s.Free = int64(fs.Bavail) * block
	}
	var st unix.Stat_t
	if unix.Fstat(l.fd(), &st) != nil {
		return s
	}
	for _, info := range o.table {
		if unix.Mkdev(uint32(info.Major), uint32(info.Minor)) == st.Dev {
			s.Type, s.Source = info.FSType, info.Source
			break
		}
	}
	return s
}

// methodStatus asks the kernel for the ioctl with the call that only asks; see
// askKernel for what the answers mean.
func (o *Overlay) methodStatus(reached bool) MethodStatus {
	if o.Mount.Config.Upper.IsZero() {
		return MethodStatus{Err: errNoUpper}
	}
	if o.Mount.ReadOnly {
		return MethodStatus{Err: fmt.Errorf("the mount is read-only: %w", unix.EROFS)}
	}
	err := o.kernel.IsRestorable(procPath(o.fd()) + "/" + tempName())
	switch {
	case errors.Is(err, unix.ENOTTY):
	case errors.Is(err, unix.ENOENT):
		return MethodStatus{Method: MethodIoctl, Generation: 1}
	default:
		return MethodStatus{Method: MethodIoctl, Generation: 2}
	}
	if !reached {
		return MethodStatus{Err: fmt.Errorf("this kernel has no ioctl for it, and the upper was not reached: %w", unix.ENOLINK)}
	}
	if err := (&restorer{Overlay: o}).mayFlush(); err != nil {
		return MethodStatus{Err: err}
	}
	return MethodStatus{Method: MethodRemount}
}

func (c Config) effective() Effective {
	e := Effective{
		Index: c.Index, NFSExport: c.NFSExport, UserXattr: c.UserXattr, Volatile: c.Volatile,
		Metacopy: !c.UserXattr && (c.Metacopy || metacopyByDefault()),
		Redirect: "nofollow",
	}
	switch {
	case c.UserXattr:
	case c.Redirect == "on", c.Redirect == "" && moduleSays("redirect_dir", false):
		e.Redirect = "on"
	case c.followsRedirects():
		e.Redirect = "follow"
	}
	return e
}

// count counts the deviations by kind, and the bytes, in one walk. Where the
// lowers are not known, only bytes are counted.
func (s *Overview) count(ctx context.Context, o *Overlay, looked *atomic.Int64) error {
	var counts Counts
	var room Room
	opts := DiffOptions{Kinds: AllKinds, Room: &room, Looked: looked}
	err := o.layers().Diff(ctx, opts, func(d Deviation) error {
		counts[d.Kind]++
		return nil
	})
	if err != nil {
		return err
	}
	s.Bytes = &Bytes{Upper: room.upper.Load()}
	if s.LowersErr == nil {
		s.Counts, s.Bytes.Redundant = &counts, room.redundant.Load()
	}
	return nil
}

// Room adds up the room on its file system that the upper takes, each inode once.
type Room struct {
	upper, redundant atomic.Int64
	mu               sync.Mutex
	seen             map[uint64]bool // inodes with several names, of which there are few
}

func (r *Room) add(st *unix.Stat_t) {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 && !r.isNew(st.Ino) {
		return
	}
	r.upper.Add(st.Blocks * 512)
}

func (r *Room) isNew(ino uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[uint64]bool{}
	}
	known := r.seen[ino]
	r.seen[ino] = true
	return !known
}
