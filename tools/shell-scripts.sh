#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# shell-scripts.sh: print the repository's shell scripts, known or new, known by
# their first line, each ended by a NUL.
set -euo pipefail

git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
	[ -f "$file" ] || continue
	[[ $file != *.in ]] || continue # a template; what tests it looks at what is made of it
	IFS= read -r first <"$file" || true
	case $first in
	'#!'*sh | '#!'*'sh '*) printf '%s\0' "$file" ;;
	esac
done 2>/dev/null
