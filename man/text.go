// SPDX-License-Identifier: Apache-2.0

package man

import (
	"regexp"
	"strings"
)

// term is a line of a table in a help text: an indented word or two, two blanks
// or more, and what it means.
var term = regexp.MustCompile(`^ {2,4}(\S+(?: \S+)*?) {2,}(\S.*)$`)

// exitStatus begins the part of a help text that has a section of its own.
const exitStatus = "Exit status"

// help is a help text, divided.
type help struct {
	text string // all but the rest
	exit string // what follows exitStatus, with its colon
	note string // what follows that
}

func divide(long string) help {
	var h help
	into := &h.text
	for i, par := range strings.Split(strings.TrimSpace(long), "\n\n") {
		if rest, ok := strings.CutPrefix(par, exitStatus); ok {
			h.exit = strings.TrimLeft(rest, ",: ")
			into = &h.note
			continue
		}
		if i > 0 && *into != "" {
			*into += "\n\n"
		}
		*into += par
	}
	return h
}

// format renders a help text: paragraphs, tables, and what is indented as it is.
func format(b *strings.Builder, text string) {
	for i, par := range strings.Split(text, "\n\n") {
		lines := strings.Split(strings.Trim(par, "\n"), "\n")
		for len(lines) > 0 {
			indented := strings.HasPrefix(lines[0], "  ")
			n := 1
			for n < len(lines) && strings.HasPrefix(lines[n], "  ") == indented {
				n++
			}
			switch {
			case !indented:
				if i > 0 {
					b.WriteString(".PP\n")
				}
				for _, line := range lines[:n] {
					b.WriteString(prose(line) + "\n")
				}
			case term.MatchString(lines[0]):
				table(b, lines[:n])
			default:
				verbatim(b, lines[:n])
			}
			lines = lines[n:]
			i++
		}
	}
}

// table renders lines of terms and meanings. A line that goes on with a meaning
// is indented as deep as the meaning.
func table(b *strings.Builder, lines []string) {
	for _, line := range lines {
		if m := term.FindStringSubmatch(line); m != nil {
			b.WriteString(".TP\n.B " + escape(m[1], true) + "\n")
			line = m[2]
		}
		b.WriteString(prose(strings.Join(strings.Fields(line), " ")) + "\n")
	}
}

// verbatim renders what is typed or printed.
func verbatim(b *strings.Builder, lines []string) {
	b.WriteString(".PP\n.RS 4\n.nf\n")
	for _, line := range lines {
		b.WriteString(escape(strings.TrimPrefix(line, "  "), true) + "\n")
	}
	b.WriteString(".fi\n.RE\n")
}

// examples renders what cobra has as examples: a comment, and what is typed.
func examples(b *strings.Builder, text string) {
	for _, par := range strings.Split(text, "\n\n") {
		var typed []string
		for _, line := range strings.Split(strings.Trim(par, "\n"), "\n") {
			if comment, ok := strings.CutPrefix(line, "  # "); ok && len(typed) == 0 {
				b.WriteString(".PP\n" + prose(strings.ToUpper(comment[:1])+comment[1:]) + ":\n")
				continue
			}
			typed = append(typed, line)
		}
		verbatim(b, typed)
	}
}
