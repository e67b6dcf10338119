// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// Target is an overlay to work on: a mounted one, or the layers of one that is
// not mounted yet.
type Target struct {
	Overlay   *overlay.Overlay
	Unmounted *overlay.Unmounted
	// Mount is where the overlay is, or will be, mounted.
	Mount string
	// Image names the image where it does not say so itself.
	Image string
	// Stores says where the store is.
	Stores journal.Place
}

// Close closes the overlay.
func (t *Target) Close() error {
	if t.Unmounted != nil {
		return t.Unmounted.Close()
	}
	return t.Overlay.Close()
}

func (t *Target) layers() (*overlay.Layers, error) {
	if t.Unmounted != nil {
		return t.Unmounted.Layers, nil
	}
	return t.Overlay.Layers()
}

// openStore opens the upper's store to write to.
func (t *Target) openStore(open func(*overlay.Layer) (*journal.Store, error)) (*journal.Store, error) {
	layers, err := t.layers()
	if err != nil {
		return nil, err
	}
	return open(layers.Upper())
}

// image names the image that the overlay has now.
func (t *Target) image() (string, error) {
	if t.Image != "" {
		return t.Image, nil
	}
	layers, err := t.layers()
	if err != nil {
		return "", err
	}
	if name := ImageName(layers.Image()); name != "" {
		return name, nil
	}
	return "", &UnknownImageError{Mount: t.Mount}
}

// UnknownImageError says that nothing tells which image an overlay has.
type UnknownImageError struct{ Mount string }

func (e *UnknownImageError) Error() string {
	return fmt.Sprintf("nothing tells which image %q has: no os-release in the lower, and no UUID of its file system", e.Mount)
}

// Unwrap returns ENODATA.
func (e *UnknownImageError) Unwrap() error { return unix.ENODATA }

// drop does what was decided in the upper.
func (t *Target) drop(ctx context.Context, drops []overlay.Drop, keeper overlay.Keeper, method overlay.Method) ([]overlay.Result, error) {
	if len(drops) == 0 {
		return nil, nil
	}
	if t.Unmounted != nil {
		return t.Unmounted.Drop(ctx, drops, keeper)
	}
	return t.Overlay.Drop(ctx, drops, overlay.RestoreOptions{
		Method: method,
		Keeper: func(*overlay.Layer) (overlay.Keeper, error) { return keeper, nil },
	}), nil
}

// site is where transactions are undone.
func (t *Target) site() (*overlay.Site, error) {
	if t.Unmounted != nil {
		return t.Unmounted.Site(), nil
	}
	return t.Overlay.Site()
}

// openDir opens a directory of the upper to write to: through the overlay where
// it is mounted.
func (t *Target) openDir(rel string) (*os.File, error) {
	if t.Unmounted != nil {
		return t.Unmounted.Layers.OpenUpper(rel)
	}
	return t.Overlay.OpenMerged(rel)
}

// path is how people call an entry.
func (t *Target) path(rel string) string {
	if rel == "." {
		return t.Mount
	}
	return strings.TrimSuffix(t.Mount, "/") + "/" + rel
}

// splitRel splits a path from the overlay's root at its last component.
func splitRel(rel string) (dir, name string) {
	cut := strings.LastIndexByte(rel, '/')
	if cut < 0 {
		return ".", rel
	}
	return rel[:cut], rel[cut+1:]
}
