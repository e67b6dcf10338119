// SPDX-License-Identifier: Apache-2.0

package man

import (
	"fmt"
	"strings"
	"unicode"
)

// special are characters that roff, or the fonts that it prints with, would not
// show as they are. A hyphen that somebody may copy into a shell is a minus.
var special = map[rune]string{
	'\\': `\e`,
	'\'': `\(aq`,
	'`':  `\(ga`,
	'^':  `\(ha`,
	'~':  `\(ti`,
	'"':  `\(dq`,
	'…':  `\&...`,
	'–':  `\(en`,
}

// escape makes text stand for itself on a line of roff.
func escape(s string, minus bool) string {
	var b strings.Builder
	for i, r := range s {
		switch text, ok := special[r]; {
		case i == 0 && (r == '.' || r == '\''):
			b.WriteString(`\&` + string(r))
		case ok:
			b.WriteString(text)
		case r == '-' && minus:
			b.WriteString(`\-`)
		case r > unicode.MaxASCII:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// prose is a line of running text: what begins with a hyphen is an option.
func prose(line string) string {
	words := strings.Split(line, " ")
	for i, w := range words {
		bare := strings.TrimLeft(w, "(\"")
		if !strings.HasPrefix(bare, "-") || len(bare) < 2 {
			words[i] = escape(w, false)
			continue
		}
		option := strings.TrimRight(bare, ".,;:)\"")
		words[i] = escape(w[:len(w)-len(bare)], false) + `\fB` + escape(option, true) + `\fR` +
			escape(bare[len(option):], false)
	}
	line = strings.Join(words, " ")
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	return line
}

// quoted is an argument of a macro.
func quoted(s string) string { return `"` + escape(s, true) + `"` }
