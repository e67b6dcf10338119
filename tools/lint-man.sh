#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lint-man.sh PAGE…: what groff and mandoc find wrong with manual pages, and
# references to pages of ours that do not exist.
set -euo pipefail

found=0
complaints() {
	echo "lint-man.sh: $1 (made from the command's help text, man/sections and man/pages):" >&2
	sed 's/^/  /' >&2
	found=1
}

for page; do
	out=$({ groff -man -ww -z -Tutf8 "$page" && mandoc -T lint -W warning "$page"; } 2>&1) || true
	[ -z "$out" ] || complaints "$page" <<<"$out"
	while read -r name section; do
		[ -e "$(dirname "$page")/$name.$section" ] || complaints "$page" <<<"there is no page $name($section)"
	done < <(sed -n 's/\\-/-/g; s/^\.BR \(ovl-restore[^ ]*\) (\([0-9]\)).*/\1 \2/p' "$page")
done
exit "$found"
