// SPDX-License-Identifier: Apache-2.0

package ioctl

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// A layout that is wrong on one architecture must not compile there: these
// arrays have a negative length unless the sizes are 16 and 32. `make test`
// builds the package for arm, arm64 and 386 as well.
var (
	_ [16 - unsafe.Sizeof(pathArgs{})]struct{}
	_ [unsafe.Sizeof(pathArgs{}) - 16]struct{}
	_ [32 - unsafe.Sizeof(stateArgs{})]struct{}
	_ [unsafe.Sizeof(stateArgs{}) - 32]struct{}
)

func TestPathArgsBytes(t *testing.T) {
	args := pathArgs{pathPtr: 0x1122334455667788, pathLen: 0x99aabbcc, flags: 0xddeeff01}
	want := native64(nil, 0x1122334455667788)
	want = native32(want, 0x99aabbcc, 0xddeeff01)
	got := unsafe.Slice((*byte)(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bytes of pathArgs (-want +got):\n%s", diff)
	}
}

func TestStateArgsBytes(t *testing.T) {
	args := stateArgs{
		pathPtr: 0x1122334455667788, pathLen: 1, flags: 2,
		state: 3, stateFlags: 4, mode: 5, pad: 6,
	}
	want := native64(nil, 0x1122334455667788)
	want = native32(want, 1, 2, 3, 4, 5, 6)
	got := unsafe.Slice((*byte)(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bytes of stateArgs (-want +got):\n%s", diff)
	}
}

func native64(b []byte, v uint64) []byte { return binary.NativeEndian.AppendUint64(b, v) }

func native32(b []byte, vs ...uint32) []byte {
	for _, v := range vs {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}
