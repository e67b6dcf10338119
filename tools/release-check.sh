#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# release-check.sh: what has to hold before a commit becomes a release. What a
# program can see is looked at; the rest is a list for people. Run it on the
# commit that will have the tag.
#
# shellcheck disable=SC2317 # functions that look calls
set -uo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.." || exit

readonly recipes=yocto/meta-ovl-restore/recipes-core/ovl-restore
failed=0
look() { # look WHAT COMMAND…
	local out
	if out=$("${@:2}" 2>&1); then
		echo "ok    $1"
	else
		echo "FAIL  $1"
		printf '%s\n' "$out" | tail -n 20 | sed 's/^/      /'
		failed=1
	fi
}

clean() { [ -z "$(git status --porcelain)" ] || { git status --short; return 1; }; }

tagged() {
	tag=$(git describe --exact-match --match 'v*' HEAD 2>/dev/null) || { echo "git tag -s vX.Y.Z"; return 1; }
	[[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "$tag is no vX.Y.Z"; return 1; }
	grep -qx "PV = \"${tag#v}\"" "$recipes"/ovl-restore_git.bb || { echo "the recipe's PV is not ${tag#v}"; return 1; }
}

# The commit that the recipe fetches is before this one, and only the layer has
# changed since.
srcrev() {
	rev=$(sed -n 's/^SRCREV ?= "\(.*\)"/\1/p' "$recipes"/ovl-restore_git.bb)
	git merge-base --is-ancestor "$rev" HEAD || { echo "SRCREV $rev is not in this history"; return 1; }
	git diff --quiet "$rev" HEAD -- . ':!yocto' || {
		echo "changed since SRCREV; run make yocto-srcrev"
		git diff --stat "$rev" HEAD -- . ':!yocto'
		return 1
	}
}

small() { [ "$(stat -c %s build/ovl-restore-armv7)" -le $((4 * 1024 * 1024)) ] || { ls -l build/ovl-restore-armv7; return 1; }; }

twice() {
	copy=$(mktemp -d)
	git archive HEAD | tar -x -C "$copy"
	make -s -C "$copy" build VERSION="$(git describe --always --dirty --tags)" &&
		cmp "$copy/build/ovl-restore" build/ovl-restore
	code=$?
	rm -rf "$copy"
	return "$code"
}

look "the work tree is clean" clean
look "the commit has a tag, which is the recipe's version" tagged
look "the recipe's SRCREV has the same sources" srcrev
look "make lint" make lint
look "make build-all" make build-all
look "the armv7 program is under 4 MiB" small
look "two builds in two places are the same" twice
look "make check-packaging" make check-packaging
cat <<'EOL'

By people, and by machines that this one is not:
  [ ] CI is green on this commit; make test-kernel-race, -debug, -32, -powercut are, too
  [ ] make check-deb: the packages in Debian 12, through an update and a factory reset
  [ ] the kernel patches apply to the newest 6.1.y and 6.12.y (make kernel-tree)
  [ ] the layer: the commands in yocto/meta-ovl-restore/README.md that need BitBake
  [ ] README: figures and output are of this version
  [ ] the release notes say what changed in fields of --json, the store, the configuration; who reported what
  [ ] on a device: an update with a conflict, its undo, a factory reset by the button, the power cut during it
  [ ] publish build/dist/*: the tarball, the SBOM, the packages, each with a signature; push the tag
EOL
exit "$failed"
