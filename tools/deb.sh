#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# deb.sh TARBALL OUT ARCHITECTURE…: make the Debian packages from the tarball of
# make dist. The Go that is on the PATH builds them, wherever it comes from:
# Debian 12 has no 1.26. Go builds for other architectures without their tools.
set -euo pipefail

tarball=$(realpath "$1") out=$2
shift 2
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(realpath "$out")
rm -f "$out"/*.deb

tar -C "$work" -xf "$tarball"
cd "$work"/*/
revision=$(cat .version)
date=$(cat .source-date)
export SOURCE_DATE_EPOCH=$date
base=$(sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
version=${revision#v}
# Between releases: after the one that is named, and in the order of time.
[[ $version =~ ^[0-9]+(\.[0-9]+)+$ ]] || version=$base+git$(date -u -d "@$date" +%Y%m%d%H%M%S).${revision//-/.}
{
	echo "ovl-restore ($version) unstable; urgency=medium"
	printf '\n  * Built from %s.\n\n' "$revision"
	printf ' -- %s  %s\n\n' "$(sed -n 's/^Maintainer: //p' debian/control)" "$(date -u -R -d "@$date")"
	cat debian/changelog
} >debian/changelog.new
mv debian/changelog.new debian/changelog

# The modules that are linked, each with the text of its licence.
modules() {
	sed -n 's|^ *file://pkg/mod/\([^;]*\);.*spdx=\([^ ]*\).*|\1 \2|p' \
		yocto/meta-ovl-restore/recipes-core/ovl-restore/ovl-restore-licenses.inc |
		while read -r file id; do
			text=$(unzip -p "modules/${file%%@*}/@v/$(echo "${file#*@}" | cut -d/ -f1).zip" "$file")
			printf 'Files: modules/%s/*\nCopyright: %s\nLicense: %s\n' "${file%%@*}" \
				"$(grep -m1 -oE '(Copyright|\(c\)).*[0-9]{4}.*' <<<"$text" | sed 's/^Copyright *//' || echo "the authors")" "$id"
			case $id in
			Apache-2.0) echo " On Debian systems, the text is in /usr/share/common-licenses/Apache-2.0." ;;
			*) printf '%s\n' "$text" | sed 's/^[[:space:]]*$/./; s/^/ /' ;;
			esac
			echo
		done
}
modules >debian/modules
sed -i -e '/@MODULES@/r debian/modules' -e '/@MODULES@/d' debian/copyright
rm debian/modules

GOCACHE=$(go env GOCACHE)
export GOCACHE
build=binary
for arch; do
	dpkg-buildpackage -d -us -uc --build=$build -a"$arch" >"$out/$arch.log" 2>&1 || { tail -n 40 "$out/$arch.log" >&2; exit 1; }
	build=any # the package for all architectures was built with the first
done
cp "$work"/*.deb "$out"
cd "$out"
ls -l ./*.deb
