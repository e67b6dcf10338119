// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ovl-restore/ovl-restore/internal/journal"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// ManifestPath is where an image has its manifest, from its root: a baseline of
// all that is in the image, made when it is built.
const ManifestPath = "usr/share/ovl-restore/manifest.jsonl"

// manifestName is the store's copy of what the manifest says of the overlay: once
// the next image is there, the old one's is gone.
const manifestName = "manifest.jsonl"

// errUnsorted: a baseline is read alongside a walk.
var errUnsorted = errors.New("the archive is not in the order of a walk: pack it by GNU tar with --sort=name")

// errNoRelease: a manifest is of one image, and of no other.
var errNoRelease = errors.New("the tree has no os-release that tells the image from others: give it a name")

// WriteManifest writes the manifest of an image whose tree comes as a tar archive.
// The image is known by the os-release in it, unless it is given a name. The
// manifest itself has no record.
func WriteManifest(w io.Writer, archive io.Reader, name string) error {
	var lines bytes.Buffer
	out := &baselineWriter{out: json.NewEncoder(&lines)}
	head := baselineHead{Image: name, Digest: digestName, Complete: true}
	last := ""
	err := readTar(archive, func(rel string, v *Version, content io.Reader) error {
		if last != "" && compareRel(last, rel) >= 0 {
			return fmt.Errorf("%q after %q: %w", rel, last, errUnsorted)
		}
		last = rel
		if v.Type == File && v.Size > 0 {
			h := newDigest()
			release := head.Image == "" && (rel == "etc/os-release" || rel == "usr/lib/os-release")
			if release {
				text, err := io.ReadAll(content)
				if err != nil {
					return err
				}
				head.Image = ImageName(overlay.ParseOSRelease(string(text)))
				_, _ = h.Write(text) // it cannot fail
			} else if _, err := io.Copy(h, content); err != nil {
				return err
			}
			v.Digest = h.String()
		}
		if rel == ManifestPath {
			return nil
		}
		head.Entries++
		return out.add(rel, *v)
	})
	if err == nil && head.Image == "" {
		err = errNoRelease
	}
	if err == nil {
		err = json.NewEncoder(w).Encode(head)
	}
	if err == nil {
		_, err = w.Write(lines.Bytes())
	}
	return err
}

// OtherImageError says that the manifest in an image was made for another one, or
// is no manifest of a whole image: it is not believed.
type OtherImageError struct{ Image, Of string }

func (e *OtherImageError) Error() string {
	return fmt.Sprintf("the manifest %q is of %q, and the image is %q", "/"+ManifestPath, e.Of, e.Image)
}

// keepManifest copies into the store what the manifest of the image says of an
// overlay, and says whether it is there. The error is an *OtherImageError for a
// manifest that is not of this image.
func keepManifest(layers *overlay.Layers, store *journal.Store, image string) (bool, error) {
	kept, err := storedBase(store, manifestName, image)
	if kept != nil {
		return true, kept.Close()
	}
	if err != nil && !errors.Is(err, errBaseline) {
		return false, err
	}
	f, sub, err := layers.ImageFile(ManifestPath)
	if errors.Is(err, os.ErrNotExist) {
		return false, store.Remove(manifestName)
	}
	if err != nil {
		return false, err
	}
	from, err := openBaseline(f)
	if err != nil {
		return false, fmt.Errorf("the manifest %q: %w", "/"+ManifestPath, err)
	}
	defer func() { _ = from.Close() }()
	if from.head.Image != image || !from.head.Complete {
		return false, errors.Join(&OtherImageError{Image: image, Of: from.head.Image}, store.Remove(manifestName))
	}
	err = store.Replace(manifestName, func(w io.Writer) error {
		buffer := bufio.NewWriter(w)
		return errors.Join(from.slice(newBaselineWriter(buffer, baselineHead{Image: image, Complete: true}), sub), buffer.Flush())
	})
	return err == nil, err
}

// slice copies what a baseline has below a directory. One that was cut off, or is
// not in order, is an error.
func (r *baselineReader) slice(to *baselineWriter, sub string) error {
	entries, last, found := 0, "", sub == "."
	for ; r.next != nil && r.err == nil; r.read() {
		entries++
		rel := r.next.rel()
		if last != "" && compareRel(last, rel) >= 0 {
			return errBaseline
		}
		last = rel
		if sub != "." {
			found = found || rel == sub && r.next.Type == Directory
			var below bool
			if rel, below = strings.CutPrefix(rel, sub+"/"); !below {
				continue
			}
		}
		if err := to.add(rel, r.next.version()); err != nil {
			return err
		}
	}
	if r.err == nil && (!found || entries != r.head.Entries) {
		return errBaseline
	}
	return r.err
}
