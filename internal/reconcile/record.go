// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// UnreconciledError says that the upper was not fitted to the image yet: what its
// entries were made on is in the baseline that there is, and must stay there.
type UnreconciledError struct{ Was, Is string }

func (e *UnreconciledError) Error() string {
	return fmt.Sprintf("the image is %q, and the upper was last fitted to %q", e.Is, e.Was)
}

// Record records what the image has for each deviation of the upper, as the
// baseline for the next image. The error is an *UnreconciledError where that
// would lose what is known of the image before.
func Record(ctx context.Context, t *Target, open func(*overlay.Layer) (*journal.Store, error)) (rec Recorded, err error) {
	if rec.Image, err = t.image(); err != nil {
		return rec, err
	}
	store, err := t.openStore(open)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	st, err := readState(store)
	if err != nil {
		return rec, err
	}
	if st.Image != "" && st.Image != rec.Image {
		return rec, &UnreconciledError{Was: st.Image, Is: rec.Image}
	}
	if rec, err = record(ctx, t, store, rec.Image); err != nil {
		return rec, err
	}
	st.Pending = rec.pending
	if st.Image == "" {
		st.Image, st.Time = rec.Image, time.Now().UTC()
	}
	return rec, writeState(store, st)
}

// Recorded is what a baseline holds.
type Recorded struct {
	Image   string
	Entries int
	// Manifest: the image's own record is in the store, too.
	Manifest bool
	// NoManifest is why there is none, although the image has one.
	NoManifest error
	pending    [][]byte // entries that have an image's version beside them
}

// record writes the baseline, and finds the entries that have an image's version
// beside them. What the baseline that is there knows of the same image is not
// read again.
func record(ctx context.Context, t *Target, store *journal.Store, image string) (rec Recorded, err error) {
	layers, err := t.layers()
	if err != nil {
		return rec, err
	}
	known, err := storedBase(store, BaselineName, image)
	if errors.Is(err, errBaseline) {
		known, err = nil, nil // it is replaced
	}
	if err != nil {
		return rec, err
	}
	if known != nil {
		defer func() { _ = known.Close() }()
	}
	from := side{layers.ImageReader()}
	defer from.Close()
	err = store.Replace(BaselineName, func(w io.Writer) error {
		buffer := bufio.NewWriter(w)
		r := &recorder{out: newBaselineWriter(buffer, baselineHead{Image: image}), from: from, known: known}
		err := layers.Diff(ctx, overlay.DiffOptions{Kinds: overlay.AllKinds, Merged: true}, r.deviation)
		rec = Recorded{Image: image, Entries: r.entries, pending: r.pending}
		return errors.Join(err, buffer.Flush())
	})
	if err == nil {
		// The record does for most; a store without room for more is no failure.
		rec.Manifest, rec.NoManifest = keepManifest(layers, store, image)
	}
	return rec, err
}

// storedBase opens a baseline of the store if it is of that image; nil where
// there is none.
func storedBase(store *journal.Store, name, image string) (*baselineReader, error) {
	f, err := store.OpenFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := openBaseline(f)
	if err != nil {
		return nil, err
	}
	if b.head.Image != image {
		return nil, b.Close()
	}
	return b, nil
}

// recorder records what the image has.
type recorder struct {
	out     *baselineWriter
	from    side
	known   *baselineReader // of the same image; nil for none
	pending [][]byte
	entries int

	// The directory in which nothing is recorded: the image has none of that name,
	// or it is covered.
	inside string
	// The renamed directory that the walk is in, and where the image has it.
	renamed, was string
}

func (r *recorder) deviation(d overlay.Deviation) error {
	if base, ok := strings.CutSuffix(d.Path, BesideSuffix); ok && (d.Kind == overlay.Added || d.Kind == overlay.Modified) {
		r.pending = append(r.pending, []byte(base))
	}
	if d.Path == "." || r.inside != "" && strings.HasPrefix(d.Path, r.inside+"/") {
		return nil
	}
	imageRel := d.Path
	if rest, ok := strings.CutPrefix(d.Path, r.renamed+"/"); ok && r.renamed != "" {
		imageRel = r.was + "/" + rest
	}
	switch d.Kind {
	case overlay.Added, overlay.TypeChanged, overlay.Opaque:
		r.inside = d.Path
	case overlay.Redirected:
		r.renamed, r.was = d.Path, d.From
	default:
	}
	v := Nothing
	if d.Image != 0 || d.Kind == overlay.Redirected {
		var err error
		if v, err = r.version(d.Path, imageRel); err != nil {
			return fmt.Errorf("record %q: %w", d.Path, err)
		}
	}
	r.entries++
	return r.out.add(d.Path, v)
}

// version reads the image's version, but for content that is known.
func (r *recorder) version(rel, imageRel string) (Version, error) {
	v, err := r.from.version(imageRel)
	if err != nil || v.Type != File {
		return v, err
	}
	if r.known != nil {
		was, err := r.known.at(rel)
		if err != nil && !errors.Is(err, errBaseline) {
			return v, err
		}
		if err == nil && was.Type == File && was.Size == v.Size {
			v.Digest = was.Digest
		}
	}
	err = r.from.fill(&v, imageRel)
	return v, err
}
