// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Diff reports how the merged view differs from the image, in a stable order:
// the entries of a directory sorted by name, each directory before what is in
// it. It stops at the first error of report and returns it, and when ctx is
// done. Nothing is written, and the merged view itself is not read.
func (o *Overlay) Diff(ctx context.Context, opts DiffOptions, report func(Deviation) error) error {
	layers, err := o.Layers()
	if err != nil {
		return err
	}
	if opts.Content {
		if err := o.reachData(layers); err != nil {
			return err
		}
		defer closeLayers(layers.data)
	}
	return layers.Diff(ctx, opts, report)
}

// Layers reaches all layers that directories are made of. They belong to the
// Overlay.
func (o *Overlay) Layers() (*Layers, error) {
	if _, err := o.Upper(); err != nil {
		return nil, err
	}
	if _, err := o.Lowers(); err != nil {
		return nil, err
	}
	return o.layers(), nil
}

// reachData reaches the data-only layers, whose files show under other names
// only, so that nothing can be compared to know them by.
func (o *Overlay) reachData(l *Layers) error {
	for _, path := range o.Mount.Config.DataOnly {
		layer, err := o.reachNamed(path)
		if err != nil {
			closeLayers(l.data)
			return err
		}
		l.data = append(l.data, layer)
	}
	return nil
}

func (o *Overlay) reachNamed(path LayerPath) (*Layer, error) {
	unreached := &UnreachedError{Layer: "data-only lower", Path: path.Path}
	for c := range o.candidates(path) {
		if !c.named {
			continue
		}
		layer, err := openCandidate(path, c)
		if err == nil {
			layer.Sure = Named
			return layer, nil
		}
		unreached.Tried = append(unreached.Tried, Attempt{c.how, err})
	}
	return nil, unreached
}

func closeLayers(layers []*Layer) {
	for _, l := range layers {
		_ = l.root.Close()
	}
}

// Diff is Overlay.Diff for layers that were opened by OpenLayers.
func (l *Layers) Diff(ctx context.Context, opts DiffOptions, report func(Deviation) error) error {
	c := &comparer{layers: l, opts: opts, kinds: opts.kinds()}
	for _, rel := range topPaths(opts.Paths) {
		w := &walk{visit: c.visitor((*openNode).compare), failed: c.failed}
		w.report = func(n *node, r *record) error { return c.report(w, n, r, report) }
		if err := w.run(ctx, l.top(rel)); err != nil {
			return err
		}
	}
	return nil
}

// top is where a walk to rel begins.
func (l *Layers) top(rel string) *node {
	return &node{image: l.rootDir().lowers, imageType: modeDir, only: onlyPath(rel)}
}

// topPaths sorts paths and leaves out those below another one.
func topPaths(paths []string) []string {
	if len(paths) == 0 {
		return []string{"."}
	}
	// As if the separator came before all other bytes, as in a walk.
	sorted := make([]string, len(paths))
	for i, p := range paths {
		sorted[i] = strings.ReplaceAll(p, "/", "\x00")
	}
	slices.Sort(sorted)
	var kept []string
	for _, p := range sorted {
		p = strings.ReplaceAll(p, "\x00", "/")
		if p == "." {
			return []string{"."}
		}
		if len(kept) > 0 {
			if _, ok := below(kept[len(kept)-1], p); ok {
				continue
			}
		}
		kept = append(kept, p)
	}
	return kept
}

// failed is told of what could not be read.
func (c *comparer) failed(path string, err error) error {
	if c.opts.Failed == nil {
		return fmt.Errorf("compare %q: %w", path, err)
	}
	c.opts.Failed(path, err)
	return nil
}

// report makes a deviation of a record.
func (c *comparer) report(w *walk, n *node, r *record, report func(Deviation) error) error {
	if len(n.only) > 1 && r != &n.self && r.kind != Deleted && r.kind != TypeChanged {
		return nil // in the way of what was asked for, but not hiding it
	}
	path := w.pathOf(n, r)
	if c.opts.Match != nil && !c.opts.Match(path) {
		return nil
	}
	dev := Deviation{
		Path:     path,
		Kind:     r.kind,
		Type:     FileType(modeTypeOf(r.typ)),
		Image:    FileType(modeTypeOf(r.image)),
		Fields:   Fields(r.fields),
		Compared: r.compared,
	}
	var x *extra
	switch {
	case r == &n.self:
		x = &n.selfExtra
	case r.extra != 0:
		x = &n.extra[r.extra-1]
	default:
		return report(dev)
	}
	dev.Hides, dev.From = x.hides, x.from
	return report(dev)
}

// LayerOptions say what the layers of an overlay that is not mounted mean.
type LayerOptions struct {
	// UserXattr reads user.overlay.* attributes instead of trusted.overlay.*. An
	// upper whose root directory has such attributes is believed without.
	UserXattr bool
}

// OpenLayers opens the layers of an overlay that is not mounted: the upper, and
// the lowers, topmost first. Redirects and metacopies are followed. Close them
// after use.
//
// A lower that is the merged directory of a mounted overlay with the same upper
// is refused: all copies would look equal to the image there.
func OpenLayers(upper string, lowers []string, opts LayerOptions) (_ *Layers, err error) {
	l := &Layers{redirect: true, metacopy: true}
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	if l.upper, err = openNamed(upper); err != nil {
		return nil, fmt.Errorf("open the upper: %w", err)
	}
	for _, path := range lowers {
		layer, err := openNamed(path)
		if err != nil {
			return nil, fmt.Errorf("open the lower: %w", err)
		}
		l.lowers = append(l.lowers, layer)
		if err := l.refuseMerged(layer); err != nil {
			return nil, fmt.Errorf("the lower %q: %w", path, err)
		}
	}
	l.prefix = Config{UserXattr: opts.UserXattr || l.tellsUserXattr()}.xattrPrefix()
	return l, nil
}

func openNamed(path string) (*Layer, error) {
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Layer{Path: path, How: "path " + path, Where: absOrAsIs(path), Sure: Named, root: f}, nil
}

// errMergedLower is what OpenLayers refuses.
var errMergedLower = errors.New("it is not the image, but the merged directory, or the upper itself")

func (l *Layers) refuseMerged(lower *Layer) error {
	if sameDir(l.upper, lower) {
		return errMergedLower
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(lower.fd(), &fs) == nil && fs.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return nil // it may be mounted where no table shows it
	}
	o, err := Open(procPath(lower.fd()), Options{})
	if errors.As(err, new(*NotOverlayError)) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }()
	upper, err := o.Upper()
	switch {
	case errors.Is(err, errNoUpper):
		return nil
	case err != nil:
		return fmt.Errorf("it is on an overlay, perhaps one of this upper: %w", err)
	case sameDir(l.upper, upper):
		return errMergedLower
	}
	return nil
}

func sameDir(a, b *Layer) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a.fd(), &x) == nil && unix.Fstat(b.fd(), &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// tellsUserXattr says that a mount with userxattr has left its marks on the
// upper's root directory.
func (l *Layers) tellsUserXattr() bool {
	var buf []byte
	fd, err := openBeneath(l.upper.fd(), ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	list, err := listXattrsOf(fd, &buf)
	return err == nil && strings.Contains("\x00"+string(list), "\x00user.overlay.") &&
		!strings.Contains("\x00"+string(list), "\x00trusted.overlay.")
}

// Close closes layers that OpenLayers opened. Those of an Overlay are its own.
func (l *Layers) Close() error {
	var errs []error
	for _, layer := range append(append([]*Layer{l.upper}, l.lowers...), l.data...) {
		if layer != nil {
			errs = append(errs, layer.root.Close())
		}
	}
	return errors.Join(errs...)
}
