// SPDX-License-Identifier: Apache-2.0

package ioctl

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// recorded is one call as the kernel would see it.
type recorded struct {
	Req   uintptr
	Path  string // what lies at path_ptr, with the NUL behind it
	Len   uint32
	Flags uint32
}

// fakeKernel answers with errnos in turn, then with success.
type fakeKernel struct {
	calls  []recorded
	errnos []unix.Errno
	answer func(*stateArgs)
}

func (k *fakeKernel) ioctl(_, req uintptr, arg unsafe.Pointer) unix.Errno {
	args := (*pathArgs)(arg)                                  // stateArgs begins alike
	addr := *(*unsafe.Pointer)(unsafe.Pointer(&args.pathPtr)) // reads the low word of the u64: little-endian tests only
	path := unsafe.Slice((*byte)(addr), args.pathLen+1)
	k.calls = append(k.calls, recorded{req, string(path), args.pathLen, args.flags})
	if len(k.errnos) > 0 {
		errno := k.errnos[0]
		k.errnos = k.errnos[1:]
		return errno
	}
	if req == reqUpperState && k.answer != nil {
		k.answer((*stateArgs)(arg))
	}
	return 0
}

func newFake(t *testing.T, errnos ...unix.Errno) (*Mount, *fakeKernel) {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	k := &fakeKernel{errnos: errnos}
	m := NewMount(dir)
	m.call = k.ioctl
	return m, k
}

func TestCallsAsTheKernelSeesThem(t *testing.T) {
	m, k := newFake(t)
	k.answer = func(a *stateArgs) { a.state, a.stateFlags, a.mode = 2, 3, 0o100644 }
	if err := m.RestoreLower("/m/a b", DiscardUpper); err != nil {
		t.Error(err)
	}
	if err := m.IsRestorable("/m/\xff\n"); err != nil {
		t.Error(err)
	}
	st, err := m.UpperState("/m/c")
	if err != nil {
		t.Error(err)
	}
	wantState := UpperState{State: StateUpper, Flags: FlagOpaque | FlagNoLowerDir, Mode: 0o100644}
	if st != wantState {
		t.Errorf("UpperState = %+v, want %+v", st, wantState)
	}
	want := []recorded{
		{reqRestoreLower, "/m/a b\x00", 6, 1},
		{reqIsRestorable, "/m/\xff\n\x00", 5, 0},
		{reqUpperState, "/m/c\x00", 4, 0},
	}
	if diff := cmp.Diff(want, k.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestInterruptedCallIsIssuedAgain(t *testing.T) {
	m, k := newFake(t, unix.EINTR, unix.EINTR)
	if err := m.RestoreLower("/m/a", 0); err != nil {
		t.Error(err)
	}
	if len(k.calls) != 3 {
		t.Errorf("%d calls, want 3", len(k.calls))
	}
}

func TestEmulatorWithoutTheIoctl(t *testing.T) {
	m, _ := newFake(t, unix.ENOSYS)
	if err := m.RestoreLower("/m/a", 0); !errors.Is(err, ErrNoIoctl) {
		t.Errorf("got %v, want ENOTTY: the caller falls back", err)
	}
}

func TestMalformedPathNeverReachesTheKernel(t *testing.T) {
	m, k := newFake(t)
	for _, path := range []string{"", "/m/a\x00b"} {
		if err := m.RestoreLower(path, 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("RestoreLower(%q) = %v, want EINVAL", path, err)
		}
	}
	if len(k.calls) != 0 {
		t.Errorf("the kernel was asked: %+v", k.calls)
	}
}

func TestErrorsAreTyped(t *testing.T) {
	for _, tt := range []struct {
		errno unix.Errno
		is    error
	}{
		{unix.ENOTTY, ErrNoIoctl},
		{unix.ENOENT, os.ErrNotExist},
		{unix.EPERM, os.ErrPermission},
		{unix.EACCES, os.ErrPermission},
		{unix.EEXIST, ErrNothing},
		{unix.ENODATA, ErrNoLower},
		{unix.EXDEV, ErrOtherFS},
		{unix.EROFS, ErrReadOnly},
		{unix.EOPNOTSUPP, ErrRefused},
	} {
		m, _ := newFake(t, tt.errno)
		err := m.RestoreLower("/m/a", 0)
		if !errors.Is(err, tt.is) {
			t.Errorf("%v: errors.Is(%v, %v) is false", tt.errno, err, tt.is)
		}
		var ioctlErr *Error
		if !errors.As(err, &ioctlErr) || ioctlErr.Path != "/m/a" {
			t.Errorf("%v: not an *Error with its path: %#v", tt.errno, err)
		}
	}
}

func TestClosedDirectory(t *testing.T) {
	m, k := newFake(t)
	_ = m.dir.Close()
	if err := m.RestoreLower("/m/a", 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("on a closed directory: %v, want EBADF", err)
	}
	if len(k.calls) != 0 {
		t.Error("the kernel was asked with a closed descriptor")
	}
}

// A kernel without the interface, the one under this test or a stock one,
// refuses with ENOTTY on a file system that is no overlay.
func TestRealKernelWithoutTheIoctl(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	m := NewMount(dir)
	if err := m.IsRestorable("/etc/hostname"); !errors.Is(err, ErrNoIoctl) {
		t.Errorf("IsRestorable = %v, want ENOTTY", err)
	}
	if _, err := m.UpperState("/etc/hostname"); !errors.Is(err, ErrNoIoctl) {
		t.Errorf("UpperState = %v, want ENOTTY", err)
	}
}
