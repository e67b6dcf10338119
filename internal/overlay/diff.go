// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
)

// Diff reports how the merged view differs from the image, in a stable order:
// the entries of a directory sorted by name, each directory before what is in
// it. It stops at the first error of report and returns it. Nothing is written,
// and the merged view itself is not read.
func (o *Overlay) Diff(ctx context.Context, opts DiffOptions, report func(Deviation) error) error {
	if _, err := o.Upper(); err != nil {
		return err
	}
	if _, err := o.Lowers(); err != nil {
		return err
	}
	return o.layers().Diff(ctx, opts, report)
}

// Diff is the comparison of layers that were opened by OpenLayers, or reached.
func (l *Layers) Diff(ctx context.Context, opts DiffOptions, report func(Deviation) error) error {
	return errors.ErrUnsupported
}

// LayerOptions say what the layers of an overlay that is not mounted mean.
type LayerOptions struct {
	// UserXattr reads user.overlay.* attributes instead of trusted.overlay.*. An
	// upper whose root directory tells is believed without.
	UserXattr bool
}

// OpenLayers opens the layers of an overlay that is not mounted: the upper, and
// the lowers, topmost first. Close them after use.
func OpenLayers(upper string, lowers []string, opts LayerOptions) (*Layers, error) {
	return nil, errors.ErrUnsupported
}

// Close closes layers that OpenLayers opened. Those of an Overlay are its own.
func (l *Layers) Close() error { return nil }
