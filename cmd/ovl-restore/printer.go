// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// printer owns all output. Results go to standard output, failures to standard
// error; each is one line, whatever bytes are in a name. Messages are lower case
// and have no full stop. With --json everything is on standard output, an object
// a line.
type printer struct {
	stdout *bufio.Writer
	stderr io.Writer
	colour bool // standard error is a terminal that may show colours
	json   bool
	quiet  bool
	nul    bool
}

func newPrinter(stdout, stderr *os.File) *printer {
	return &printer{
		stdout: bufio.NewWriter(stdout),
		stderr: stderr,
		colour: os.Getenv("NO_COLOR") == "" && isTerminal(stderr),
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (p *printer) configure(json, quiet, nul bool) { p.json, p.quiet, p.nul = json, quiet, nul }

func (p *printer) flush() error { return p.stdout.Flush() }

// line writes to standard output; what goes wrong there shows when it is
// flushed.
func (p *printer) line(s string) { _, _ = p.stdout.WriteString(s + "\n") }

// fatal prints why the whole command failed.
func (p *printer) fatal(err error) {
	if p.json {
		p.object(jsonResult{Status: string(overlay.StatusFailed), Error: newJSONError(err)})
		return
	}
	p.complain(describe(err), hint(err))
}

// failure prints why one path failed.
func (p *printer) failure(path string, err error) {
	if p.json {
		p.object(jsonResult{jsonPath: newJSONPath(path), Status: string(overlay.StatusFailed), Error: newJSONError(err)})
		return
	}
	p.complain(quotePath(path)+": "+describe(err), hint(err))
}

func (p *printer) complain(message, hint string) {
	_ = p.stdout.Flush() // keep the order on a terminal
	if hint != "" {
		message += " (" + hint + ")"
	}
	_, _ = fmt.Fprintln(p.stderr, "ovl-restore: "+message)
}

// results prints what became of each path. For --test only the answer counts.
func (p *printer) results(results []overlay.Result, test bool) {
	for _, r := range results {
		switch {
		case p.json:
			p.object(newJSONResult(r))
		case r.Err != nil:
			p.failure(r.Path, r.Err)
		case p.quiet:
		case r.Status == overlay.StatusSkipped:
		default:
			p.line(sentence(r, test))
		}
	}
}

// sentence says what was, or would be, done.
func sentence(r overlay.Result, test bool) string {
	path := quotePath(r.Path)
	planned := r.Status == overlay.StatusPlanned
	verb := func(done, would string) string {
		if planned {
			return "would " + would + " " + path
		}
		return done + " " + path
	}
	var s string
	switch {
	case test && planned:
		return "restorable " + path
	case r.Action == overlay.ActRestore:
		s = verb("restored", "restore")
	case r.Action == overlay.ActDiscard:
		s = verb("discarded", "discard")
	case r.Action == overlay.ActRemove:
		s = verb("removed", "remove")
	case r.Action == overlay.ActMerge:
		s = verb("merged", "merge")
	case r.Action == overlay.ActRefresh:
		s = verb("refreshed", "refresh")
	case r.Action == overlay.ActKeep:
		return "kept " + path + " (--discard drops it)"
	default:
		s = verb("shown", "show")
	}
	if r.Method != "" {
		s += " (" + string(r.Method) + ")"
	}
	if r.Backup != "" {
		s += ", backup " + quotePath(r.Backup)
	}
	return s
}

// state prints the line that scripts read. A name that would break it is quoted,
// but for NUL mode, where nothing breaks it.
func (p *printer) state(path string, st ioctl.UpperState) {
	if p.json {
		p.object(jsonState{
			jsonPath: newJSONPath(path), State: st.State.String(),
			Opaque: st.Flags&ioctl.FlagOpaque != 0, NoLowerDir: st.Flags&ioctl.FlagNoLowerDir != 0,
			Mode: stateMode(st),
		})
		return
	}
	fields := "\t" + st.State.String() + "\t" + stateFlags(st.Flags) + "\t" + stateMode(st)
	if p.nul {
		_, _ = p.stdout.WriteString(path + fields + "\x00")
		return
	}
	p.line(quotePath(path) + fields)
}

// quotePath shows a name on one line: as it is, or, with control characters or
// bytes that are not UTF-8 in it, as a quoted string.
func quotePath(path string) string {
	for _, c := range path {
		if c == utf8.RuneError || !strconv.IsPrint(c) {
			return strconv.Quote(path)
		}
	}
	if strings.HasPrefix(path, `"`) {
		return strconv.Quote(path)
	}
	return path
}

func (p *printer) object(v any) {
	data, err := json.Marshal(v)
	if err != nil { // all fields are strings, numbers and lists of such
		data = []byte(strconv.Quote(err.Error()))
	}
	p.line(string(data))
}
