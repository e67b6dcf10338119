// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Overlay is a mounted overlay and the directories it is made of.
type Overlay struct {
	Lower, Upper, Work, Merged string
}

// NewOverlay makes the directories of an overlay in a temporary directory of
// the test, without mounting it, so that the test can fill the layers first.
func NewOverlay(t testing.TB) *Overlay {
	t.Helper()
	return NewOverlayIn(t, t.TempDir())
}

// NewOverlayIn is NewOverlay in an empty directory of the caller's choice.
func NewOverlayIn(t testing.TB, dir string) *Overlay {
	t.Helper()
	o := &Overlay{
		Lower:  filepath.Join(dir, "lower"),
		Upper:  filepath.Join(dir, "upper"),
		Work:   filepath.Join(dir, "work"),
		Merged: filepath.Join(dir, "merged"),
	}
	for _, d := range []string{o.Lower, o.Upper, o.Work, o.Merged} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// Mount mounts the overlay until the test ends. Its own layers are used where
// the options, as in mount -o, name no others; without privileges userxattr is
// added, for lack of trusted.* attributes.
func (o *Overlay) Mount(t testing.TB, options ...string) {
	t.Helper()
	Mount(t, "overlay", o.Merged, "overlay", 0, o.data(options))
}

// Unmount unmounts the overlay at once, for a test that mounts it again.
func (o *Overlay) Unmount(t testing.TB) {
	t.Helper()
	if err := unix.Unmount(o.Merged, 0); err != nil {
		t.Fatalf("unmount %s: %v", o.Merged, err)
	}
}

func (o *Overlay) data(options []string) string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(options, func(s string) bool { return strings.HasPrefix(s, prefix) })
	}
	var data []string
	if !has("lowerdir") {
		data = append(data, "lowerdir="+o.Lower)
	}
	// An overlay of two lowers and no upper is asked for by an empty upperdir.
	if !has("upperdir=") {
		data = append(data, "upperdir="+o.Upper)
	}
	if !has("workdir=") && !slices.Contains(options, "upperdir=") {
		data = append(data, "workdir="+o.Work)
	}
	if !Privileged() && !slices.Contains(options, "userxattr") {
		data = append(data, "userxattr")
	}
	for _, option := range options {
		if option != "upperdir=" {
			data = append(data, option)
		}
	}
	return strings.Join(data, ",")
}

// MountOverlay makes and mounts an overlay with empty layers.
func MountOverlay(t testing.TB, options ...string) *Overlay {
	t.Helper()
	o := NewOverlay(t)
	o.Mount(t, options...)
	return o
}
