// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"unicode/utf8"
)

// columns indents rows, and puts their cells below each other.
func columns(rows [][]string) string {
	widths := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		gap := 2
		for i, cell := range row {
			b.WriteString(strings.Repeat(" ", gap) + cell)
			gap = 2 + widths[i] - utf8.RuneCountInString(cell)
		}
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}
