#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# recipe-shell.sh FILE…: print the shell functions of BitBake's files, for a shell
# to run or to look at. The shell expands ${X} as BitBake does; do_x:append:y is
# do_x_append_y, and Python in ${@…} is true.
set -euo pipefail

awk '
	/^[a-z_:-]+ *\(\) *\{$/ && !/^python/ { inside = 1; name = $0; sub(/\(.*/, "", name); gsub(/[:-]/, "_", name); print name "() {"; next }
	inside { gsub(/\$\{@([^{}]|\{[^}]*\})*\}/, "true"); print }
	/^}$/ { inside = 0 }
' "$@"
