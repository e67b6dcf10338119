// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// BaselineName is the baseline's file in the store. Its first line is a
// baselineHead; each other one is a baselineRecord, in the order of
// overlay.Diff, so that both can be read side by side in little memory.
const BaselineName = "baseline.jsonl"

// baselineHead says what a baseline is of.
type baselineHead struct {
	Image  string `json:"image"`
	Digest string `json:"digest"` // digestName
	// Complete: it is of the whole image, and what has no record was not there.
	Complete bool `json:"complete,omitempty"`
	Entries  int  `json:"entries,omitempty"` // of a manifest: how many lines follow
}

// baselineRecord is what the image had for one deviation. Of what is below a
// directory that it did not have, nothing is said.
type baselineRecord struct {
	Path   string `json:"p,omitempty"`
	Bytes  []byte `json:"b,omitempty"` // the path where it is not UTF-8
	Type   Type   `json:"t"`
	Mode   uint32 `json:"m,omitempty"`
	UID    uint32 `json:"u,omitempty"`
	GID    uint32 `json:"g,omitempty"`
	Size   int64  `json:"s,omitempty"`
	Digest string `json:"d,omitempty"`
	Target []byte `json:"l,omitempty"`
	Device uint64 `json:"r,omitempty"`
	Xattrs string `json:"x,omitempty"`
}

func newRecord(rel string, v Version) baselineRecord {
	r := baselineRecord{
		Type: v.Type, Mode: v.Mode, UID: v.UID, GID: v.GID, Size: v.Size, Digest: v.Digest,
		Target: []byte(v.Target), Device: v.Device, Xattrs: v.Xattrs,
	}
	if utf8.ValidString(rel) {
		r.Path = rel
	} else {
		r.Bytes = []byte(rel)
	}
	return r
}

func (r *baselineRecord) rel() string {
	if r.Bytes != nil {
		return string(r.Bytes)
	}
	return r.Path
}

func (r *baselineRecord) version() Version {
	return Version{
		Known: true, Type: r.Type, Mode: r.Mode, UID: r.UID, GID: r.GID, Size: r.Size, Digest: r.Digest,
		Target: string(r.Target), Device: r.Device, Xattrs: r.Xattrs,
	}
}

// baselineReader reads a baseline alongside a walk.
type baselineReader struct {
	head baselineHead
	in   *bufio.Reader
	from *os.File
	next *baselineRecord // read, and not yet passed; nil at the end
	last string          // the last path that was asked for
	gone string          // the last path that the image had no directory at
	err  error
}

// errBaseline says that a baseline, or the rest of it, is of no use.
var errBaseline = errors.New("the baseline cannot be read, and counts as none")

func openBaseline(from *os.File) (*baselineReader, error) {
	r := &baselineReader{from: from}
	if err := r.rewind(); err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return r, nil
}

func (r *baselineReader) rewind() error {
	if _, err := r.from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r.in, r.last, r.gone = bufio.NewReader(r.from), "", ""
	line, err := r.in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r.head)
	}
	if err == nil && r.head.Digest != digestName {
		err = fmt.Errorf("it has digests of another kind, %q", r.head.Digest)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBaseline, err)
	}
	r.read()
	return r.err
}

func (r *baselineReader) read() {
	r.next = nil
	line, err := r.in.ReadBytes('\n')
	if len(line) == 0 && errors.Is(err, io.EOF) {
		return
	}
	next := &baselineRecord{}
	if err == nil {
		err = json.Unmarshal(line, next)
	}
	if err != nil {
		r.err = fmt.Errorf("%w: %w", errBaseline, err)
		return
	}
	r.next = next
}

// at is what the baseline has at a path. Paths are asked for in the order of a
// walk, but where a renamed directory leads elsewhere in the image.
func (r *baselineReader) at(rel string) (Version, error) {
	if compareRel(rel, r.last) <= 0 {
		if err := r.rewind(); err != nil {
			return Version{}, err
		}
	}
	r.last = rel
	for r.next != nil && r.err == nil {
		next := r.next.rel()
		order := compareRel(next, rel)
		if order > 0 {
			break
		}
		v := r.next.version()
		if v.Type != Directory {
			r.gone = next
		}
		r.read()
		if order == 0 {
			return v, r.err
		}
	}
	if r.gone != "" && strings.HasPrefix(rel, r.gone+"/") || r.head.Complete {
		return Nothing, r.err
	}
	return Version{}, r.err
}

func (r *baselineReader) Close() error { return r.from.Close() }

// compareRel orders paths as a walk meets them: as if the separator came before
// all other bytes.
func compareRel(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// baselineWriter writes one.
type baselineWriter struct {
	out *json.Encoder
	err error
}

func newBaselineWriter(w io.Writer, head baselineHead) *baselineWriter {
	b := &baselineWriter{out: json.NewEncoder(w)}
	head.Digest = digestName
	b.err = b.out.Encode(head)
	return b
}

func (b *baselineWriter) add(rel string, v Version) error {
	if b.err == nil {
		b.err = b.out.Encode(newRecord(rel, v))
	}
	return b.err
}
