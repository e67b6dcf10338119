// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
)

// fieldKernel answers as kernels in the field do, over a real overlay: where it
// restores, it takes the whiteout from the upper and flushes.
type fieldKernel struct {
	s *stage
	o *Overlay
	// blind: an early one, that answers ENOENT for every whiteout.
	blind bool
	// stateless: it has no OVL_IOC_UPPER_STATE.
	stateless bool
	// idle: RESTORE_LOWER says success, and nothing happens.
	idle     bool
	restored []string
}

func (k *fieldKernel) refuse(op, path string, errno unix.Errno) error {
	return &ioctl.Error{Op: op, Path: path, Errno: errno}
}

// upperOf finds the upper entry of a path, which may lead through /proc.
func (k *fieldKernel) upperOf(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return ""
	}
	rel, ok := below(k.s.Merged, dir)
	if !ok {
		return ""
	}
	return filepath.Join(k.s.Upper, rel, filepath.Base(path))
}

func (k *fieldKernel) RestoreLower(path string, flags ioctl.RestoreFlags) error {
	const op = "OVL_IOC_RESTORE_LOWER"
	if flags != 0 {
		return k.refuse(op, path, unix.EINVAL)
	}
	err := k.IsRestorable(path)
	if err != nil || k.idle {
		return err
	}
	k.restored = append(k.restored, path)
	k.s.must(os.Remove(k.upperOf(path)))
	k.s.must(reconfigure(k.o.fd()))
	return nil
}

func (k *fieldKernel) IsRestorable(path string) error {
	const op = "OVL_IOC_IS_RESTORABLE"
	upper := k.upperOf(path)
	if upper == "" || k.blind {
		return k.refuse(op, path, unix.ENOENT)
	}
	var st unix.Stat_t
	switch err := unix.Lstat(upper, &st); {
	case err != nil:
		return k.refuse(op, path, unix.ENOENT)
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
		return nil
	}
	return k.refuse(op, path, unix.EINVAL)
}

func (k *fieldKernel) UpperState(path string) (ioctl.UpperState, error) {
	const op = "OVL_IOC_UPPER_STATE"
	if k.stateless {
		return ioctl.UpperState{}, k.refuse(op, path, unix.ENOTTY)
	}
	upper := k.upperOf(path)
	if upper == "" {
		return ioctl.UpperState{}, k.refuse(op, path, unix.ENOENT)
	}
	if _, err := os.Lstat(filepath.Dir(path)); err != nil {
		return ioctl.UpperState{}, k.refuse(op, path, unix.ENOENT)
	}
	var st unix.Stat_t
	if unix.Lstat(upper, &st) != nil {
		st = unix.Stat_t{} // no entry
	}
	switch {
	case st.Mode == 0:
		return ioctl.UpperState{State: ioctl.StateNone}, nil
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
		return ioctl.UpperState{State: ioctl.StateWhiteout, Mode: st.Mode}, nil
	}
	return ioctl.UpperState{State: ioctl.StateUpper, Mode: st.Mode}, nil
}

// The kernels in the field: whatever they answer, the paths end up right, and
// what is reported is what is there.
func TestKernelsInTheField(t *testing.T) {
	for name, kernel := range map[string]fieldKernel{
		"first":           {},
		"first stateless": {stateless: true},
		"blind":           {blind: true},
		"blind stateless": {blind: true, stateless: true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []Method{MethodAuto, MethodIoctl} {
				t.Run(string(method), func(t *testing.T) {
					s := newStage(t)
					s.fillLower("f", "d/f", "d/g", "gone/f", "shadow", "visible", "twice")
					s.mount()
					s.remove("f", "d/f", "gone", "twice")
					s.write("shadow", "edited")
					o := s.open()
					k := kernel
					k.s, k.o = s, o
					o.kernel = &k
					opts := RestoreOptions{Method: method}
					flushes := 0
					o.opts.Trace = func(e Event) {
						if strings.HasPrefix(e.Op, "flush") {
							flushes++
						}
					}

					results := s.restoreWith(o, opts, "f", "d/f", "twice")

					if method == MethodIoctl && kernel.blind {
						wantAll(t, results, StatusFailed)
						s.wantAbsent("f", "d/f")
						s.wantWhiteout("f", true)
						return
					}
					wantAll(t, results, StatusDone)
					s.wantLower("f", "d/f", "twice")
					if flushes > 1 {
						t.Errorf("%d flushes for one batch", flushes)
					}
					if kernel.blind != (len(k.restored) == 0) {
						t.Errorf("the ioctl restored %q", k.restored)
					}
					for _, rel := range []string{"shadow", "visible", "nowhere"} {
						wantFailed(t, s.restoreWith(o, opts, rel), unix.EEXIST)
					}
					if method == MethodAuto {
						hidden := asResult[*HiddenParentError](t, s.restoreWith(o, opts, "gone/f"))
						if hidden.Parent != s.merged("gone") {
							t.Errorf("%+v", hidden)
						}
						s.remove("twice")
						wantAll(t, s.restoreWith(o, opts, "twice", "twice", "./twice"), StatusDone)
						opts.Discard = true
						wantAll(t, s.restoreWith(o, opts, "shadow"), StatusDone)
						s.wantLower("shadow")
					}
				})
			}
		})
	}
}

// A kernel that says success and does nothing is not believed.
func TestIdleKernelIsNotBelieved(t *testing.T) {
	for _, method := range []Method{MethodAuto, MethodIoctl} {
		t.Run(string(method), func(t *testing.T) {
			s := newStage(t)
			s.fillLower("f", "d/f")
			s.mount()
			s.remove("f", "d")
			o := s.open()
			o.kernel = &fieldKernel{s: s, o: o, idle: true}
			results := s.restoreWith(o, RestoreOptions{Method: method}, "f", "d")
			for _, r := range results {
				_, err := os.Lstat(r.Path)
				if (r.Status == StatusDone) != (err == nil) {
					t.Errorf("%+v, and it is there: %v", r, err)
				}
			}
		})
	}
}

// currentKernel has the documented contract, and an answer for each path.
type currentKernel struct {
	s       *stage
	answers map[string]unix.Errno
}

func (k *currentKernel) RestoreLower(path string, _ ioctl.RestoreFlags) error {
	errno, ok := k.answers[filepath.Base(path)]
	if !ok {
		errno = unix.EEXIST
	}
	if errno == 0 {
		return nil
	}
	return &ioctl.Error{Op: "OVL_IOC_RESTORE_LOWER", Path: path, Errno: errno}
}

func (k *currentKernel) IsRestorable(path string) error { return k.RestoreLower(path, 0) }

func (k *currentKernel) UpperState(path string) (ioctl.UpperState, error) {
	return (&fieldKernel{s: k.s}).UpperState(path)
}

// Each errno of the documented contract means what it means, and a success that
// changed nothing is not believed.
func TestErrnosOfTheContract(t *testing.T) {
	s := newStage(t)
	s.fillLower("idle", "busy", "stale", "denied", "refused", "full", "fine")
	s.mount()
	all := []string{"idle", "busy", "stale", "denied", "refused", "full"}
	s.remove(all...)
	o := s.open()
	o.kernel = &currentKernel{s: s, answers: map[string]unix.Errno{
		"idle": 0, "busy": unix.EBUSY, "stale": unix.ESTALE, "denied": unix.EACCES,
		"refused": unix.EOPNOTSUPP, "full": unix.ENOSPC,
	}}
	results := s.restoreWith(o, RestoreOptions{Method: MethodAuto}, all...)
	wantAll(t, results, StatusFailed)
	for i, want := range []error{nil, unix.EBUSY, unix.ESTALE, os.ErrPermission, unix.EOPNOTSUPP, unix.ENOSPC} {
		if want != nil && !errors.Is(results[i].Err, want) {
			t.Errorf("%s: %v, want %v", all[i], results[i].Err, want)
		}
		s.wantWhiteout(all[i], true)
	}
	if conflict := (*ConflictError)(nil); !errors.As(results[4].Err, &conflict) {
		t.Errorf("refused: %#v, want a ConflictError", results[4].Err)
	}
	// Forced, what the kernel refuses is done the other way.
	wantAll(t, s.restoreWith(o, RestoreOptions{Method: MethodAuto, Force: true}, "refused"), StatusDone)
	s.wantLower("refused")
}

// The ioctl alone was asked for, and there is none.
func TestMethodIoctlWithoutIoctl(t *testing.T) {
	s := newStage(t)
	s.fillLower("f")
	s.mount()
	s.remove("f")
	o := s.open()
	if o.askKernel() != contractNone {
		wantAll(t, s.restoreWith(o, RestoreOptions{Method: MethodIoctl}, "f"), StatusDone)
		s.wantLower("f")
		return
	}
	wantFailed(t, s.restoreWith(o, RestoreOptions{Method: MethodIoctl}, "f"), unix.ENOTTY)
	s.wantWhiteout("f", true)
}
