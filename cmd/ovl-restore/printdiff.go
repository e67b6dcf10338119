// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// The output of diff. It belongs to the printer.

var (
	errInterrupted = fmt.Errorf("interrupted: %w", unix.EINTR)
	// errFoundSoFar is for what prints as it goes.
	errFoundSoFar = fmt.Errorf("what was found so far is above: %w", errInterrupted)
	errNoSuchFile = fmt.Errorf("neither the image nor the merged directory has it: %w", unix.ENOENT)
)

// configureDiff is configure for diff.
func (p *printer) configureDiff(f diffFlags) {
	p.configure(restoreFlags{json: f.json, quiet: f.quiet, verbose: f.verbose, nul: f.nul})
	if isTerminal(os.Stdout) {
		p.progress = nil // the lines themselves show that it goes on
	}
}

// deviation prints one line.
func (p *printer) deviation(path string, d overlay.Deviation, namesOnly bool) {
	switch {
	case p.quiet:
	case p.json:
		p.object(newJSONDeviation(path, d))
	case p.nul && namesOnly:
		_, _ = p.stdout.WriteString(path + "\x00")
	case p.nul:
		_, _ = p.stdout.WriteString(string(d.Kind.Letter()) + " " + path + "\x00")
	case namesOnly:
		p.line(quotePath(path))
	default:
		p.line(string(d.Kind.Letter()) + " " + quotePath(path) + details(d))
	}
}

// details are what is in parentheses.
func details(d overlay.Deviation) string {
	var words []string
	switch d.Kind {
	case overlay.Deleted:
		if d.Type == unix.S_IFDIR {
			words = append(words, "directory")
		}
	case overlay.Redirected:
		words = append(words, "from "+quotePath("/"+d.From))
	case overlay.TypeChanged:
		words = append(words, d.Image.String()+" to "+d.Type.String())
	case overlay.Redundant:
		words = append(words, map[overlay.Compared]string{
			overlay.ComparedTimes: "by size and times", overlay.ComparedContent: "content",
		}[d.Compared])
	default:
	}
	words = append(words, d.Fields.Names()...)
	switch {
	case d.Hides == 1:
		words = append(words, "hides 1 entry")
	case d.Hides > 1 || d.Kind == overlay.Opaque:
		words = append(words, fmt.Sprintf("hides %d entries", d.Hides))
	}
	if text := strings.Trim(strings.Join(words, ", "), ", "); text != "" {
		return " (" + text + ")"
	}
	return ""
}

// jsonDeviation is a line of diff.
type jsonDeviation struct {
	jsonPath
	Kind      string   `json:"kind"`
	Type      string   `json:"type,omitempty"`
	ImageType string   `json:"image_type,omitempty"`
	Fields    []string `json:"fields,omitempty"`
	Compared  string   `json:"compared,omitempty"`
	Hides     int64    `json:"hides,omitempty"`
	From      string   `json:"from,omitempty"`
	FromBytes []byte   `json:"from_bytes,omitempty"`
}

func newJSONDeviation(path string, d overlay.Deviation) jsonDeviation {
	out := jsonDeviation{
		jsonPath:  newJSONPath(path),
		Kind:      d.Kind.String(),
		Type:      d.Type.String(),
		ImageType: d.Image.String(),
		Fields:    d.Fields.Names(),
		Compared:  d.Compared.String(),
		Hides:     d.Hides,
	}
	if d.From != "" {
		from := newJSONPath("/" + d.From)
		out.From, out.FromBytes = from.Path, from.Bytes
	}
	return out
}

// jsonSummary is what diff --summary prints.
type jsonSummary struct {
	Counts   map[string]int64 `json:"counts"`
	Hidden   int64            `json:"hidden"`
	Compared string           `json:"compared"`
}

// summary prints how many there are of each kind.
func (p *printer) summary(s summary) {
	if p.json {
		out := jsonSummary{Counts: map[string]int64{}, Hidden: s.hidden, Compared: s.compared.String()}
		for kind, n := range s.counts {
			out.Counts[kind.String()] = n
		}
		p.object(out)
		return
	}
	total := int64(0)
	for kind := overlay.Added; kind <= overlay.Orphan; kind++ {
		if n := s.counts[kind]; n > 0 {
			total += n
			p.line(fmt.Sprintf("%8d %c %s", n, kind.Letter(), kind))
		}
	}
	p.line(fmt.Sprintf("%8d in all", total))
	if s.hidden > 0 {
		p.line(fmt.Sprintf("%8d entries of the image hidden by opaque, renamed and replaced directories", s.hidden))
	}
	if s.compared == overlay.ComparedTimes {
		p.line("content was compared by size and time; --content reads it")
	}
}

// unified prints how two versions of a text differ; nil stands for no file.
func (p *printer) unified(name string, image, merged *[]byte) {
	label := func(side string, data *[]byte) (string, []byte) {
		if data == nil {
			return "/dev/null", nil
		}
		return quotePath(side + name), *data
	}
	was, before := label("image:", image)
	is, after := label("", merged)
	switch {
	case image != nil && merged != nil && bytes.Equal(before, after):
	case isBinary(before) || isBinary(after):
		p.line("binary files " + was + " and " + is + " differ")
	default:
		text := diff.Diff(was, before, is, after)
		_, text, _ = bytes.Cut(text, []byte("\n")) // its own heading
		_, _ = p.stdout.Write(text)
	}
}

// isBinary says what git does: there is a NUL near the beginning.
func isBinary(data []byte) bool {
	return bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0
}
