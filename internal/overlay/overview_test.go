// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

func (s *stage) overview() *Overview {
	s.t.Helper()
	return s.open().Overview(context.Background(), nil)
}

func TestOverviewCounts(t *testing.T) {
	s := newCheckStage(t)
	s.mount("volatile")
	s.live()
	before := wholeTree(t, filepath.Dir(s.Upper))
	v := s.overview()
	if err := errors.Join(v.UpperErr, v.LowersErr, v.CountErr); err != nil {
		t.Fatal(err)
	}
	want := Counts{Added: 4, Modified: 1, Metadata: 1, Deleted: 4, Opaque: 1}
	if diff := cmp.Diff(want, *v.Counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if v.Upper.Sure == Proven || v.Upper.Type == "" || v.Upper.Size == 0 || v.Work == nil || len(v.Lowers) != 1 {
		t.Errorf("layers: %+v", v)
	}
	if !v.Options.Volatile || v.Options.UserXattr != s.userxattr {
		t.Errorf("options: %+v", v.Options)
	}
	if diff := cmp.Diff(before, wholeTree(t, filepath.Dir(s.Upper))); diff != "" {
		t.Errorf("it was only looked at (-before +now):\n%s", diff)
	}
}

// An inode with two names takes room once.
func TestOverviewMeasures(t *testing.T) {
	s := newStage(t)
	s.mount()
	s.write("a", string(make([]byte, 1<<20)))
	one := s.overview().Bytes.Upper
	s.must(os.Link(s.merged("a"), s.merged("b")))
	if two := s.overview().Bytes.Upper; one < 1<<20 || two != one {
		t.Errorf("%d bytes, and with a second name %d", one, two)
	}
}

// What could be freed are copies that were not changed; the room is that of all
// the upper, however much of it differs. Each entry is looked at once.
func TestOverviewMeasuresWhatCouldBeFreed(t *testing.T) {
	s := newStage(t)
	s.must(os.MkdirAll(s.inLower("d/e"), 0o755))
	s.must(os.WriteFile(s.inLower("d/e/same"), make([]byte, 1<<20), 0o644))
	s.must(os.WriteFile(s.inLower("d/edited"), make([]byte, 1<<20), 0o644))
	s.mount()
	s.must(os.Chmod(s.merged("d/e/same"), 0o600)) // copies it up
	s.must(os.Chmod(s.merged("d/e/same"), 0o644))
	s.write("d/edited", string(make([]byte, 2<<20)))
	s.write("new", string(make([]byte, 3<<20)))
	var looked atomic.Int64
	v := s.open().Overview(context.Background(), &looked)
	if mib := v.Bytes.Redundant >> 20; mib != 1 {
		t.Errorf("%d MiB could be freed, want 1: %+v", mib, *v.Counts)
	}
	if mib := v.Bytes.Upper >> 20; mib != 6 {
		t.Errorf("%d MiB in the upper, want 6", mib)
	}
	if looked.Load() != 5 {
		t.Errorf("looked at %d entries of 5", looked.Load())
	}
}

// Where a lower cannot be reached, the room is known all the same.
func TestOverviewMeasuresWithoutTheLowers(t *testing.T) {
	s := newStage(t)
	s.fillLower("a")
	s.mount()
	s.write("b", string(make([]byte, 1<<20)))
	o := s.open()
	o.lowers = &reached{err: unix.ENOLINK}
	v := o.Overview(context.Background(), nil)
	if v.CountErr != nil || v.Counts != nil || v.Bytes == nil || v.Bytes.Upper < 1<<20 || !errors.Is(v.LowersErr, unix.ENOLINK) {
		t.Errorf("%+v", v)
	}
}

// askedKernel answers what a kernel says to a name that does not exist.
type askedKernel struct {
	kernel // nil: nothing else may be asked
	errno  unix.Errno
}

func (k askedKernel) IsRestorable(path string) error {
	return &ioctl.Error{Op: "OVL_IOC_IS_RESTORABLE", Path: path, Errno: k.errno}
}

func TestOverviewTellsTheMethod(t *testing.T) {
	s := newStage(t)
	s.mount()
	for errno, want := range map[unix.Errno]MethodStatus{
		unix.ENOTTY: {Method: MethodRemount},
		unix.ENOENT: {Method: MethodIoctl, Generation: 1},
		unix.EEXIST: {Method: MethodIoctl, Generation: 2},
	} {
		o := s.open()
		o.kernel = askedKernel{errno: errno}
		v := o.Overview(context.Background(), nil)
		if v.Method != want {
			t.Errorf("%v: %+v, want %+v", errno, v.Method, want)
		}
	}
	s.must(unix.Mount("", s.Merged, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	if v := s.overview(); v.Method.Method != "" || !errors.Is(v.Method.Err, unix.EROFS) {
		t.Errorf("read-only: %+v", v.Method)
	}
}

func TestOverviewWithoutAnUpper(t *testing.T) {
	s := newStage(t)
	s.fillLower("a")
	s.mount("lowerdir="+s.Lower+":"+s.Upper, "upperdir=")
	v := s.overview()
	if v.Upper != nil || v.UpperErr != nil || v.Counts != nil || v.Method.Method != "" || len(v.Lowers) != 2 {
		t.Errorf("%+v", v)
	}
}

func TestOverviewStops(t *testing.T) {
	s := newStage(t)
	s.mount()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.open().Overview(ctx, nil).CountErr; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
