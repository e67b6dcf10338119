#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# For SWUpdate: while the old image still runs, record what it has where the
# overlays differ from it. After the next boot ovl-restore-reconcile.service tells
# by that what the user changed from what the image changed.
#
# Either on the device, for every update:
#
#	swupdate --postupdate /usr/share/ovl-restore/swupdate/ovl-restore.sh
#
# (swupdate -i of 2022.12 now and then takes the state before the installation for
# its end, and exits with 1 without running that, and with the installation cut
# off or done. ovl-restore-baseline.service at shutdown makes up for it.)
#
# or in the update, copied beside its sw-description, which says:
#
#	scripts: ( { filename = "ovl-restore.sh"; type = "shellscript"; } );
#
# When the new image has proved good, "ovl-restore reconcile --confirm" says so:
# from then on the backups of what was dropped for it may go.
#
# Both do no harm, nor does a second installation. What fails here is said and
# fails no update: without a record, what cannot be told is kept.
set -u

case ${1-} in
preinst | postfailure) exit 0 ;;
esac
# An update may come to an image without it.
command -v ovl-restore >/dev/null || exit 0

ovl-restore baseline --wait || echo "ovl-restore: no baseline was recorded for this update" >&2
exit 0
