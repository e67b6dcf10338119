#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lean.sh DIRECTORY: makes DIRECTORY/go.mod, with which the program is built
# without what cobra and pflag link but this program does not use: templates,
# regular expressions, CSV, and package net with its flags for addresses. That is
# 300 KB of the 4 MiB that there are on a small device. The two modules are
# copied from the module cache, as go.mod pins them, and changed in a few places;
# an edit that finds nothing to change is an error.
set -euo pipefail

to=$1

# copy MODULE: its Go files without tests, and its licence.
copy() {
	local from
	# By package: of a module, go may ask a proxy for what it has in its cache.
	from=$(go list -f '{{.Dir}}' "$1")
	mkdir -p "$new/${1##*/}"
	find "$from" -maxdepth 1 -type f \( -name '*.go' -o -name go.mod -o -name 'LICENSE*' \) ! -name '*_test.go' \
		-exec cp -t "$new/${1##*/}" {} +
	chmod -R u+w "$new/${1##*/}"
}

# edit FILE EXPRESSION…: each of them has to change something.
edit() {
	local file=$new/$1 expression
	shift
	for expression; do
		sed -E -i.before "$expression" "$file"
		if cmp -s "$file" "$file.before"; then
			echo "$0: in ${file#"$new/"} there is nothing for $expression: has the module changed?" >&2
			exit 1
		fi
		rm "$file.before"
	done
}

mkdir -p "$to"
new=$(mktemp -d "$to/new.XXXXXX")
trap 'rm -rf "$new"' EXIT
copy github.com/spf13/cobra
copy github.com/spf13/pflag

# No template of our own is set, so none is ever run.
edit cobra/cobra.go \
	'/"text\/template"/d' \
	's/template\.FuncMap/map[string]interface{}/' \
	'/t := template\.New/,/return t\.Execute/c panic("this program has no templates")'
edit cobra/completions.go \
	'/^[[:space:]]"regexp"$/d' \
	'/^var configEnvVarPrefixSubstRegexp/d' \
	's/configEnvVarPrefixSubstRegexp\.ReplaceAllString\(v, "_"\)/strings.Map(envVarRune, v)/'
cat >>"$new/cobra/completions.go" <<-'EOF'

	func envVarRune(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}
EOF

rm "$new"/pflag/{bytes,golangflag,ip,ip_slice,ipmask,ipnet,ipnet_slice,string_to_int,string_to_int64,string_to_string}.go
edit pflag/flag.go \
	'/goflag "flag"/d' '/\*goflag\.FlagSet/d' \
	'/if f\.addedGoFlagSets != nil/,/^	}$/d' \
	'/isGotest(Shorthand)?Flag\(/,/^	}$/d' \
	'/case \*ipValue, /,/return f\.DefValue/d'
# The values of our lists have no quotes.
edit pflag/string_slice.go \
	'/"encoding\/csv"/d' '/"bytes"/d' \
	'/stringReader := /,/return csvReader\.Read/c return strings.Split(val, ","), nil' \
	'/b := &bytes\.Buffer/,/return strings\.TrimSuffix/c return strings.Join(vals, ","), nil'

cp go.sum "$new/go.sum"
cp go.mod "$new/go.mod"
go mod edit -replace "github.com/spf13/cobra=./$to/cobra" -replace "github.com/spf13/pflag=./$to/pflag" "$new/go.mod"
# What did not change keeps its place: the next build then has nothing to do.
for each in cobra pflag go.mod go.sum; do
	if ! diff -qr "$new/$each" "$to/$each" >/dev/null 2>&1; then
		rm -rf "${to:?}/$each"
		mv "$new/$each" "$to/$each"
	fi
done
