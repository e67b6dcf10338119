#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# yocto-compile.sh: run the Yocto recipe's do_compile and do_install without
# BitBake: with nothing but the modules that the recipe names, in a cache as
# BitBake's gomod fetcher lays it out, checksums verified, and no proxy. Licences are
# compared, and what is installed with what the recipe says of its packages.
#
# shellcheck disable=SC2016 # ${PN} is BitBake's
set -euo pipefail
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/.."

readonly recipe=yocto/meta-ovl-restore/recipes-core/ovl-restore/ovl-restore

die() { echo "yocto-compile.sh: $*" >&2; exit 1; }

have=$(go env GOMODCACHE)/cache/download
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
escaped() { sed 's/\([A-Z]\)/!\L\1/g'; }

n=0
while IFS=';' read -r uri version rest; do
	path=$(escaped <<<"${uri#gomod://}")/@v/$(escaped <<<"${version#version=}")
	sum=${rest##*sha256sum=}
	kind=zip
	[[ $rest != mod=1* ]] || kind=mod
	mkdir -p "$dir/pkg/mod/cache/download/$(dirname "$path")"
	cp "$have/$path.$kind" "$have/$path.mod" "$dir/pkg/mod/cache/download/$(dirname "$path")/"
	sha256sum --quiet -c - <<<"$sum  $dir/pkg/mod/cache/download/$path.$kind" || die "another checksum: $uri"
	n=$((n + 1))
done < <(sed -n 's/^ *\(gomod:[^ ]*\).*/\1/p' "$recipe-go-mods.inc")
[ "$n" -gt 0 ] || die "$recipe-go-mods.inc names no module"

# The recipe's functions, with the variables that BitBake's configuration sets for a
# distribution with usrmerge, systemd and sysvinit.
readonly import=github.com/ovl-restore/ovl-restore
mkdir -p "$dir/src/$import" "$dir/build" "$dir/tmp"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$dir/src/$import" 2>/dev/null || true # removed ones
export GOMODCACHE=$dir/pkg/mod GOPROXY=off GOSUMDB=off GOENV=off GOTOOLCHAIN=local GOOS=linux GOARCH=arm GOARM=7
export S=$dir B=$dir/build D=$dir/image GO=go GO_IMPORT=$import GOTMPDIR=$dir/tmp PV=test PN=ovl-restore STAGING_DATADIR_NATIVE=$dir/native/usr/share
export prefix=/usr bindir=/usr/bin datadir=/usr/share mandir=/usr/share/man sysconfdir=/etc nonarch_libdir=/usr/lib nonarch_base_libdir=/usr/lib \
	systemd_unitdir=/usr/lib/systemd systemd_system_unitdir=/usr/lib/systemd/system
{
	tools/recipe-shell.sh "${recipe}_git.bb"
	echo 'oe_runmake() { make -s "$@"; }'
} >"$dir/recipe.sh"
task() { # task FUNCTION…
	sh -c 'set -e; . "$0"; for f; do "$f"; done' "$dir/recipe.sh" "$@" >"$dir/log" 2>&1 || { cat "$dir/log" >&2; die "$*"; }
}
task do_compile do_compile_append_class_native
D=$dir/native task do_install do_install_append_class_native
task do_install do_install_append_class_target

# What the recipe says of packages has to be what is there.
variable() { sed -e ':a; /\\$/ { N; s/\\\n//; ba }' "${recipe}_git.bb" | sed -n 's/^'"$1"' *+\{0,1\}= "\(.*\)"$/\1/p'; }
for unit in $(variable 'SYSTEMD_SERVICE:${PN}'); do
	[ -e "$D$systemd_system_unitdir/$unit" ] || die "there is no unit $unit"
done
for script in $(variable 'INITSCRIPT_NAME:[^ ]*'); do
	[ -x "$D/etc/init.d/$script" ] || die "there is no init script $script"
done
# FILES of our packages, of ${PN} by default, of -doc and of bash-completion.bbclass.
packaged=$(eval "echo $(variable 'FILES:[^ ]*' | tr '\n' ' ')")
for files in $packaged; do
	[ -e "$D$files" ] || die "there is nothing for FILES $files"
done
find "$D" ! -type d -printf '/%P\n' | while read -r file; do
	for files in $packaged /usr/bin /etc /usr/share/man /usr/share/bash-completion; do
		[[ $file != $files/* && $file != "$files" ]] || continue 2
	done
	die "$file is in no package"
done

while IFS=';' read -r uri md5 _; do
	file=$dir/${uri#file://}
	md5sum --quiet -c - <<<"${md5#md5=}  $file" || die "another licence: $uri"
done < <(sed -n 's/^ *\(file:[^ ]*\).*/\1/p' "$recipe-licenses.inc")
echo "yocto-compile.sh: $n modules, $(stat -c %s "$D/usr/bin/ovl-restore") bytes for armv7, $(find "$D" -type f | wc -l) files installed"
