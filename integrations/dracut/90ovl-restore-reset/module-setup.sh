#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# dracut: take along what a factory reset needs, and run it before the root is
# handed over.

# dracut calls these.
check() {
	require_binaries ovl-restore || return 1
	return 0
}

depends() {
	return 0
}

install() {
	local file
	inst_binary ovl-restore
	for file in {/usr/lib,/etc}/ovl-restore/{ovl-restore.toml,ovl-restore.toml.d/*.toml,keep.d/*.conf}; do
		if [[ -f $file ]]; then
			inst_simple "$file"
		fi
	done
	# shellcheck disable=SC2154 # moddir is dracut's
	inst_hook pre-pivot 50 "$moddir/ovl-restore-reset.sh"
}
