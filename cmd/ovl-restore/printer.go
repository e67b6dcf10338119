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
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ovl-restore/ovl-restore/internal/ioctl"
	"github.com/ovl-restore/ovl-restore/internal/overlay"
)

// printer owns all output.
//
// Results go to standard output, failures to standard error; each is one line,
// whatever bytes are in a name. Messages are lower case and have no full stop. A
// failure is
//
//	ovl-restore: PATH: ERRNO: reason; details (what to do)
//
// where details and advice are printed with the first of the failures that have
// them in common. With --json everything is on standard output, an object a
// line. Where standard error goes to systemd's journal, its lines bear a
// priority.
type printer struct {
	stdout   *bufio.Writer
	stderr   io.Writer
	terminal bool // standard error is one
	colour   bool // and may show colours
	journal  bool // standard error is systemd's journal
	json     bool
	quiet    bool
	nul      bool
	keepList bool            // what is kept is on the keep list
	explain  map[string]bool // details and advice that were printed
	progress *progress       // nil where none is wanted
}

// The priorities of syslog(3) that are used here.
const (
	priorityErr   = "<3>"
	priorityInfo  = "<6>"
	priorityDebug = "<7>"
)

func newPrinter(stdout, stderr *os.File) *printer {
	terminal := isTerminal(stderr)
	return &printer{
		stdout:   bufio.NewWriter(stdout),
		stderr:   stderr,
		terminal: terminal,
		colour:   terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		journal:  isJournal(stderr),
		explain:  map[string]bool{},
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// isJournal says whether a file is the stream to the journal that systemd opened
// for this service; see JOURNAL_STREAM in systemd.exec(5).
func isJournal(f *os.File) bool {
	stream := os.Getenv("JOURNAL_STREAM")
	var st unix.Stat_t
	return stream != "" && unix.Fstat(int(f.Fd()), &st) == nil &&
		stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

func (p *printer) configure(f restoreFlags) {
	p.json, p.quiet, p.nul = f.json, f.quiet, f.nul
	if p.terminal && !f.quiet && !f.verbose {
		p.progress = &progress{out: p.stderr, now: time.Now}
	}
}

// flush reports whether all output was written, and says so if it was not.
func (p *printer) flush() bool {
	err := p.stdout.Flush()
	if err != nil {
		p.complain("write the output: "+err.Error(), "")
	}
	return err == nil
}

// line writes to standard output; what goes wrong there shows when it is
// flushed.
func (p *printer) line(s string) {
	// Whole lines at a time: two processes may write to one pipe.
	if p.stdout.Available() <= len(s) {
		p.progress.clear()
		_ = p.stdout.Flush()
	}
	_, _ = p.stdout.WriteString(s + "\n")
}

// fatal prints why the whole command failed.
func (p *printer) fatal(err error) {
	if p.json {
		p.object(jsonResult{Status: string(overlay.StatusFailed), Error: newJSONError(err)})
		return
	}
	p.failed("", err)
}

// failure prints why one path failed.
func (p *printer) failure(path string, err error) {
	if p.json {
		p.object(jsonResult{jsonPath: newJSONPath(path), Status: string(overlay.StatusFailed), Error: newJSONError(err)})
		return
	}
	p.failed(quotePath(path)+": ", err)
}

func (p *printer) failed(about string, err error) {
	e := explain(err)
	message := about + e.reason
	if e.errno != "" {
		message = about + e.errno + ": " + e.reason
	}
	more := ""
	if e.detail != "" {
		more = "; " + e.detail
	}
	if e.hint != "" {
		more += " (" + e.hint + ")"
	}
	if p.explain[more] {
		more = ""
	}
	p.explain[more] = true
	p.complain(message, more)
}

func (p *printer) complain(message, more string) {
	_ = p.stdout.Flush() // keep the order on a terminal
	name := "ovl-restore:"
	if p.colour {
		name = "\x1b[1;31m" + name + "\x1b[0m"
	}
	p.log(priorityErr, name+" "+message+more)
}

// note tells what goes on, unless that is not wanted.
func (p *printer) note(message string) {
	if !p.quiet {
		p.log(priorityInfo, "ovl-restore: "+message)
	}
}

// log writes a line to standard error.
func (p *printer) log(priority, line string) {
	p.progress.clear()
	if !p.journal {
		priority = ""
	}
	_, _ = io.WriteString(p.stderr, priority+line+"\n")
}

// debugWriter is where the lines of --verbose go.
func (p *printer) debugWriter() io.Writer { return debugWriter{p} }

type debugWriter struct{ *printer }

func (w debugWriter) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		w.log(priorityDebug, strings.TrimSuffix(line, "\n"))
	}
	return len(b), nil
}

// result prints what became of a path, and says whether there was something to
// print. For --test only the answer counts.
func (p *printer) result(r overlay.Result, test bool) bool {
	p.progress.clear()
	switch {
	case p.json:
		p.object(newJSONResult(r))
	case r.Err != nil:
		p.failure(r.Path, r.Err)
	case p.quiet, r.Status == overlay.StatusSkipped:
		return false
	case p.keepList && r.Action == overlay.ActKeep:
		p.line("kept " + quotePath(r.Path))
	default:
		p.line(sentence(r, test))
	}
	return true
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
