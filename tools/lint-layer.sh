#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lint-layer.sh: what can be seen to be wrong with the Yocto layer without
# BitBake: shellcheck of the shell in recipes and classes, the syntax of the Python
# in them, and patches without the line that BitBake wants.
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
exit "$found"
