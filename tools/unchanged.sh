#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# unchanged.sh COMMAND…: run a command and fail if it changed the work tree, or
# left something new there that git does not ignore. What was changed before
# does not matter.
set -euo pipefail

state() {
	git status --porcelain
	git diff
}

before=$(state)
"$@"
after=$(state)
if [ "$before" != "$after" ]; then
	echo "unchanged.sh: '$*' changed the work tree:" >&2
	diff <(echo "$before") <(echo "$after") >&2 || true
	exit 1
fi
