// SPDX-License-Identifier: Apache-2.0

package man

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestProse(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"plain text", "plain text"},
		{"read-only layers", "read-only layers"},
		{"with --dry-run, nothing", `with \fB\-\-dry\-run\fR, nothing`},
		{"(-0 is for programs)", `(\fB\-0\fR is for programs)`},
		{"a - b", "a - b"},
		{`a\b`, `a\eb`},
		{"it's", `it\(aqs`},
		{".hidden", `\&.hidden`},
		{"PATH…", `PATH\&...`},
		{"é", `\[u00E9]`},
	} {
		if got := prose(test.in); got != test.want {
			t.Errorf("prose(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

const longText = `Does a thing.

Letters:
  A  added
  B  both, and
     more of it

  ls | wc -l

Exit status, a sum:
  0  fine
  1  not

At the end.`

func TestFormat(t *testing.T) {
	h := divide(longText)
	var b strings.Builder
	for _, part := range []string{h.text, h.exit, h.note} {
		format(&b, part)
		b.WriteString("--\n")
	}
	want := strings.TrimPrefix(`
Does a thing.
.PP
Letters:
.TP
.B A
added
.TP
.B B
both, and
more of it
.PP
.RS 4
.nf
ls | wc \-l
.fi
.RE
--
a sum:
.TP
.B 0
fine
.TP
.B 1
not
--
At the end.
--
`, "\n")
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// tree is a program with a command, one below it, one that is hidden.
func tree() *cobra.Command {
	run := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "ovl-restore MNT", Short: "Root", Long: longText, Run: run}
	sub := &cobra.Command{Use: "sub", Short: "Sub of it"}
	leaf := &cobra.Command{Use: "leaf [flags] FILE", Short: "Leaf", Run: run, Example: "  # do it\n  leaf -x 'a b'"}
	leaf.Flags().SortFlags = false
	leaf.Flags().StringP("out", "o", "here", "write to `FILE`")
	leaf.Flags().Bool("secret", false, "")
	if err := leaf.Flags().MarkHidden("secret"); err != nil {
		panic(err) // it was added above
	}
	sub.AddCommand(leaf)
	root.AddCommand(sub, &cobra.Command{Use: "hidden", Short: "Hidden", Hidden: true, Run: run})
	return root
}

func TestCommands(t *testing.T) {
	var names []string
	for _, cmd := range commands(tree()) {
		names = append(names, name(cmd))
	}
	if want := []string{"ovl-restore", "ovl-restore-sub", "ovl-restore-sub-leaf"}; !slices.Equal(names, want) {
		t.Errorf("pages of %q, want %q", names, want)
	}
}

func TestCommandPage(t *testing.T) {
	hand, err := parseSections(".\\\" comment\n.SH FILES\nf\n.SH EXAMPLES\n.PP\nmore\n.SH SEE ALSO\nfoo\n")
	if err != nil {
		t.Fatal(err)
	}
	leaf := commands(tree())[2]
	got := Edition{Version: "1.0", Date: "2026-11-25"}.command(leaf, "", hand, []string{"ovl-restore-sub-leaf.8", "ovl-restore.8"})
	want := `.TH "OVL\-RESTORE\-SUB\-LEAF" 8 "2026-11-25" "ovl\-restore 1.0" "System Administration"
.SH NAME
ovl\-restore\-sub\-leaf \- leaf
.SH SYNOPSIS
\fBovl\-restore sub leaf\fR \fI[flags]\fR \fIFILE\fR
.SH DESCRIPTION
Leaf.
.SH OPTIONS
.TP
\fB\-o\fR, \fB\-\-out\fR \fIFILE\fR
write to FILE (default: here)
.TP
\fB\-h\fR, \fB\-\-help\fR
help for leaf
.SH FILES
f
.SH EXAMPLES
Do it:
.PP
.RS 4
.nf
leaf \-x \(aqa b\(aq
.fi
.RE
.PP
more
.SH SEE ALSO
.BR ovl\-restore (8)
foo
`
	_, got, _ = strings.Cut(got, "\n") // where it comes from
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSectionsOfNoCommand(t *testing.T) {
	err := Edition{}.Write(t.TempDir(), &cobra.Command{Use: "other", Short: "Other", Run: func(*cobra.Command, []string) {}}, "")
	if err == nil || !strings.Contains(err.Error(), "man/sections/ovl-restore") {
		t.Errorf("hand-written parts of commands that do not exist: %v", err)
	}
}

func TestBadSections(t *testing.T) {
	for text, want := range map[string]string{
		"text\n":                   "before the first .SH",
		".SH A\nx\n.SH \"A\"\ny\n": "twice",
	} {
		_, err := readSections(fstest.MapFS{"sections/x.8": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "man/sections/x.8") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The hand-written pages have the edition, and are among those that others refer to.
func TestPages(t *testing.T) {
	dir := t.TempDir()
	root := tree()
	// The parts of commands that this tree lacks are an error at the end.
	if err := (Edition{Version: "1.2-3", Date: "2026-11-25"}).Write(dir, root, "More."); err == nil {
		t.Error("no error")
	}
	page, err := os.ReadFile(filepath.Join(dir, "ovl-restore-ioctl.2"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), `"2026-11-25" "ovl-restore 1.2\-3"`) || strings.Contains(string(page), "@") {
		t.Errorf("edition:\n%s", page)
	}
	page, err = os.ReadFile(filepath.Join(dir, "ovl-restore.8"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{".BR ovl\\-restore\\-ioctl (2)", "More.\n"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in:\n%s", want, page)
		}
	}
}
