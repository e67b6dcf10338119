// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"
	"strings"
)

// complaint matches a line by which a kernel says that something in it is
// wrong. "INFO:" is how hung tasks, lockdep and stalls begin; user space
// cannot cause any of these by a wrong argument.
var complaint = regexp.MustCompile(`WARNING:|BUG:|kernel BUG at|\bOops\b|INFO: |general protection fault|` +
	`KASAN|KCSAN|UBSAN|Kernel panic|unable to handle|refcount_t:|(possible|inconsistent) .*lock|` +
	`suspicious RCU|list_(add|del) corruption|VFS: Busy inodes|double free|EXT4-fs error|Call Trace:`)

// contextLines is how much is shown after a complaint: most are followed by
// where it happened.
const contextLines = 30

// complaints returns an error that shows the kernel's complaints on a console,
// each with some lines that follow.
func complaints(console string) error {
	lines := strings.Split(console, "\n")
	var found []string
	shown := 0
	for i, line := range lines {
		if i < shown || !complaint.MatchString(line) {
			continue
		}
		shown = min(i+contextLines, len(lines))
		found = append(found, strings.Join(lines[i:shown], "\n"))
	}
	if len(found) == 0 {
		return nil
	}
	return fmt.Errorf("the kernel complained:\n%s", strings.Join(found, "\n...\n"))
}

// breakpoint matches the end of a kernel that met a breakpoint of its own. It
// puts one where it changes its code, and waits for all processors before it
// forgets of it. QEMU, which translates code on one processor while another
// changes it, can run the old translation once more after that. Nothing else
// makes a kernel end like this: what it finds wrong is an invalid opcode.
var breakpoint = regexp.MustCompile(`(?m)^(\[ *[0-9.]+\] )?(Oops: )?int3: 0000 \[#1\]`)

// emulationBroke tells whether that is how a guest has ended.
func emulationBroke(console string) bool { return breakpoint.MatchString(console) }
