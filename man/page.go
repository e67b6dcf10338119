// SPDX-License-Identifier: Apache-2.0

// Package man writes the program's manual: a page for each command, from what
// the command itself says and from the hand-written parts in sections/, and the
// pages in pages/ that are hand-written as a whole. It is in no program that
// people install.
//
// A file in sections/ has the name of a page. Its sections (.SH) follow those
// that are made, but for EXAMPLES and SEE ALSO, which go on with what is made.
package man

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// section is the manual's section of the commands.
const section = "8"

// Edition is what all pages have at their feet.
type Edition struct {
	Version string
	Date    string // YYYY-MM-DD
}

// name is the name of a command's page, without the section.
func name(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// commands returns a command and those below it that have a page.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			all = append(all, commands(sub)...)
		}
	}
	return all
}

// command renders the page of a command. hand has the hand-written part by
// section, see the names of other pages.
func (e Edition) command(cmd *cobra.Command, more string, hand sections, see []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".\\\" Made by \"make man\": change the command's help, or man/sections.\n"+
		".TH %s %s %q %s \"System Administration\"\n", quoted(strings.ToUpper(name(cmd))), section,
		e.Date, quoted("ovl-restore "+e.Version))
	short := strings.ToLower(cmd.Short[:1]) + cmd.Short[1:]
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(name(cmd), true), prose(short))
	b.WriteString(".SH SYNOPSIS\n")
	for _, line := range synopsis(cmd) {
		b.WriteString(line)
	}
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	text := divide(long + "\n\n" + more)
	b.WriteString(".SH DESCRIPTION\n")
	format(&b, text.text)
	if subs := commands(cmd)[1:]; len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range subs {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s; see\n.BR %s (%s).\n", escape(strings.TrimPrefix(sub.CommandPath(), cmd.CommandPath()+" "), true),
				prose(sub.Short), escape(name(sub), true), section)
		}
	}
	cmd.InitDefaultHelpFlag()
	options(&b, "OPTIONS", cmd.LocalFlags())
	options(&b, "OPTIONS OF EVERY COMMAND", cmd.InheritedFlags())
	if text.exit != "" {
		b.WriteString(".SH EXIT STATUS\n")
		format(&b, text.exit)
	}
	for _, title := range hand.titles {
		if title != titleExamples && title != titleSee {
			fmt.Fprintf(&b, ".SH %s\n%s", title, hand.text[title])
		}
	}
	if text.note != "" {
		b.WriteString(".SH NOTES\n")
		format(&b, text.note)
	}
	if cmd.Example != "" || hand.text[titleExamples] != "" {
		b.WriteString(".SH EXAMPLES\n")
		if cmd.Example != "" {
			examples(&b, cmd.Example)
		}
		b.WriteString(hand.text[titleExamples])
	}
	b.WriteString(".SH SEE ALSO\n")
	seeAlso(&b, name(cmd)+"."+section, see)
	b.WriteString(hand.text[titleSee])
	return afterHeading.ReplaceAllString(b.String(), "$1")
}

// afterHeading is the beginning of a section with a paragraph macro that has
// nothing to separate.
var afterHeading = regexp.MustCompile(`(?m)^(\.SH .*\n)\.PP\n`)

// synopsis renders the line of use: what is typed as it is, and what stands for
// something else.
func synopsis(cmd *cobra.Command) []string {
	line := cmd.UseLine()
	rest, _ := strings.CutPrefix(line, cmd.CommandPath())
	out := []string{`\fB` + escape(cmd.CommandPath(), true) + `\fR`}
	for _, word := range strings.Fields(rest) {
		out = append(out, `\fI`+escape(word, true)+`\fR`)
	}
	lines := []string{strings.Join(out, " ") + "\n"}
	if cmd.HasAvailableSubCommands() {
		lines = append(lines, ".br\n\\fB"+escape(cmd.CommandPath(), true)+"\\fR \\fICOMMAND\\fR \\&...\n")
	}
	return lines
}

// options renders flags, in the order in which the command has them.
func options(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	b.WriteString(".SH " + title + "\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		long := `\fB` + escape("--"+f.Name, true) + `\fR`
		if value != "" {
			long += ` \fI` + escape(value, true) + `\fR`
		}
		if f.Shorthand != "" {
			long = `\fB` + escape("-"+f.Shorthand, true) + `\fR, ` + long
		}
		switch f.DefValue {
		case "", "false", "0", "[]", "0s":
		default:
			usage += " (default: " + f.DefValue + ")"
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", long, prose(usage))
	})
}

// seeAlso renders references to all pages but the one that they are on.
func seeAlso(b *strings.Builder, own string, pages []string) {
	pages = slices.DeleteFunc(slices.Clone(pages), func(p string) bool { return p == own })
	for i, page := range pages {
		dot := strings.LastIndexByte(page, '.')
		end := ","
		if i == len(pages)-1 {
			end = ""
		}
		fmt.Fprintf(b, ".BR %s (%s)%s\n", escape(page[:dot], true), page[dot+1:], end)
	}
}

// sections are the sections of a hand-written part.
type sections struct {
	titles []string // in their order
	text   map[string]string
}

const (
	titleExamples = "EXAMPLES"
	titleSee      = "SEE ALSO"
)

func parseSections(data string) (sections, error) {
	s := sections{text: map[string]string{}}
	title := ""
	for line := range strings.Lines(data) {
		if t, ok := strings.CutPrefix(line, ".SH "); ok {
			title = strings.Trim(strings.TrimSpace(t), `"`)
			if _, twice := s.text[title]; twice {
				return s, fmt.Errorf("section %q twice", title)
			}
			s.titles = append(s.titles, title)
			s.text[title] = ""
			continue
		}
		if strings.HasPrefix(line, `.\"`) {
			continue
		}
		if title == "" {
			return s, fmt.Errorf("%q before the first .SH", line)
		}
		s.text[title] += line
	}
	return s, nil
}

// unused returns the names among the files that no page took.
func unused(files map[string]sections, taken map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(f string) bool { return taken[f] })
}
