#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lint-layer.sh: what can be seen to be wrong with the Yocto layer without
# BitBake: shellcheck of the shell in recipes and classes, the syntax of the Python
# in them, patches without the line that BitBake wants, and a SRCREV that needs
# other modules.
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."

readonly layer=yocto/meta-ovl-restore
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

found=0
mapfile -d '' -t files < <(find "$layer" -type f \( -name '*.bb' -o -name '*.bbappend' -o -name '*.bbclass' -o -name '*.inc' \) -print0)
for file in "${files[@]}"; do
	tools/recipe-shell.sh "$file" >"$work/shell"
	# Variables are BitBake's, whose paths have no blanks; tasks run with set -e.
	[ ! -s "$work/shell" ] || shellcheck --shell=sh --exclude=SC2154,SC2086,SC2231,SC2164 "$work/shell" >"$work/out" || {
		echo "lint-layer.sh: $file, its shell functions:"
		cat "$work/out"
		found=1
	} >&2
done
python3 - "${files[@]}" <<'END' || found=1
import re, sys
bad = 0
for file in sys.argv[1:]:
    text = open(file).read()
    # Functions, with their indented lines; anonymous ones and tasks get a name.
    code = re.findall(r'^(def \w+\(.*\):\n(?:(?:[ \t].*)?\n)+)', text, re.M)
    code += ['def task():\n' + body for body in re.findall(r'^(?:fakeroot )?python[^\n]*\(\) \{\n((?:(?:[ \t].*)?\n)+)\}', text, re.M)]
    code += re.findall(r'\$\{@((?:\{.*?\}|.)+?)\}', text) # BitBake's own expression
    for c in code:
        try:
            compile(c.strip() + '\n', file, 'exec')
        except SyntaxError as e:
            print(f'lint-layer.sh: {file}: {e}: {c}', file=sys.stderr)
            bad = 1
sys.exit(bad)
END
while IFS= read -r -d '' patch; do
	grep -q '^Upstream-Status: \(Pending\|Submitted \[\|Backport \[\|Denied\|Inappropriate \[\|Inactive-Upstream \[\)' "$patch" || {
		echo "lint-layer.sh: $patch has no Upstream-Status" >&2
		found=1
	}
done < <(find "$layer" -name '*.patch' -print0)
# The .inc files are made from this go.mod, and BitBake builds SRCREV's.
rev=$(sed -n 's/^SRCREV ?= "\(.*\)"/\1/p' "$layer"/recipes-core/ovl-restore/ovl-restore_git.bb)
if ! git cat-file -e "$rev^{commit}" 2>/dev/null; then
	echo "lint-layer.sh: SRCREV $rev is not in this clone: whether its go.mod is this one was not looked at" >&2
elif ! git diff --quiet "$rev" -- go.mod go.sum; then
	echo "lint-layer.sh: go.mod has changed since SRCREV $rev: run make yocto-srcrev" >&2
	found=1
fi
exit "$found"
