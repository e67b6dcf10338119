# SPDX-License-Identifier: Apache-2.0

SUMMARY = "Brings files of the image back that an overlayfs hides"
DESCRIPTION = "Restores lower-layer files on the running system, reconciles \
changes with a new image after an update, and resets a device to its image."
HOMEPAGE = "https://github.com/ovl-restore/ovl-restore"
BUGTRACKER = "https://github.com/ovl-restore/ovl-restore/issues"
SECTION = "base"

LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://src/${GO_IMPORT}/LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

GO_IMPORT = "github.com/ovl-restore/ovl-restore"

# The layer and the program are of one repository. SRCREV is a commit with the
# same modules as the layer.
OVL_RESTORE_GIT ?= "git://github.com/ovl-restore/ovl-restore.git;protocol=https;branch=main"
SRC_URI = "${OVL_RESTORE_GIT};destsuffix=${GO_SRCURI_DESTSUFFIX} \
    file://run-ptest \
"
SRCREV ?= "a8eb9b21884b9099dac5036552208791e8c956e1"
PV = "0.1.0+git"

require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc

inherit go-mod bash-completion ptest systemd update-rc.d

# Static: without cgo, without the C library's loader, not as a PIE. make build
# strips, so that the program is the one that every other build of this commit
# with the same Go makes.
CGO_ENABLED = "0"
GO_LINKSHARED = ""
INSANE_SKIP:${PN} += "already-stripped"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"

# The manual and the completions are made by the program for this machine.
DEPENDS:append:class-target = " ovl-restore-native"

# ovl_restore_make TARGET…: as it is typed in a clone of the repository.
ovl_restore_make() {
    export TMPDIR="${GOTMPDIR}"
    # The Makefile says go; GO has a prefix.
    mkdir -p ${B}/shim
    [ -e ${B}/shim/go ] || ln -snf "$(command -v ${GO})" ${B}/shim/go
    export PATH="${B}/shim:$PATH"
    export GOFLAGS="-trimpath -buildvcs=false -modcacherw"
    oe_runmake -C ${S}/src/${GO_IMPORT} VERSION=${PV} STATIC=CGO_ENABLED=0 "$@"
}

do_compile() {
    ovl_restore_make build
}

do_compile:append:class-native() {
    ovl_restore_make man
}

do_install() {
    install -D -m 0755 ${S}/src/${GO_IMPORT}/build/ovl-restore ${D}${bindir}/ovl-restore
}

# To make manifests of images with, and for what is below.
do_install:append:class-native() {
    install -d ${D}${datadir}/ovl-restore-docs
    cp -r ${S}/src/${GO_IMPORT}/build/docs/. ${D}${datadir}/ovl-restore-docs/
}

do_install:append:class-target() {
    docs=${STAGING_DATADIR_NATIVE}/ovl-restore-docs
    for page in $docs/man/*; do
        install -D -m 0644 -t ${D}${mandir}/man${page##*.} $page
    done
    install -D -m 0644 $docs/completions/bash ${D}${datadir}/bash-completion/completions/ovl-restore
    install -D -m 0644 $docs/completions/zsh ${D}${datadir}/zsh/site-functions/_ovl-restore
    install -D -m 0644 $docs/completions/fish ${D}${datadir}/fish/vendor_completions.d/ovl-restore.fish

    ovl_restore_make DESTDIR=${D} PREFIX=${prefix} \
        unitdir=${systemd_system_unitdir} presetdir=${systemd_unitdir}/system-preset tmpfilesdir=${nonarch_libdir}/tmpfiles.d \
        initdir=${sysconfdir}/init.d hookdir=${datadir}/ovl-restore confdir=${nonarch_libdir}/ovl-restore \
        udevdir=${nonarch_base_libdir}/udev/rules.d dracutdir=${nonarch_libdir}/dracut/modules.d \
        install-systemd install-sysvinit install-hooks install-policy install-udev install-dracut
    # What is in use already is no example; and initramfs-tools are Debian's.
    cd ${D}${datadir}/ovl-restore
    rm -r initramfs-tools dracut udev keep.d sysvinit
}

do_install_ptest() {
    install -D -m 0755 ${UNPACKDIR}/run-ptest ${D}${PTEST_PATH}/run-ptest
}

PACKAGES =+ "${PN}-zsh-completion ${PN}-fish-completion ${PN}-policy ${PN}-hooks ${PN}-dracut ${PN}-reset-cleanup-init"
FILES:${PN}-zsh-completion = "${datadir}/zsh"
FILES:${PN}-fish-completion = "${datadir}/fish"
SUMMARY:${PN}-policy = "ovl-restore's default policy, and what a factory reset keeps"
FILES:${PN}-policy = "${nonarch_libdir}/ovl-restore"
SUMMARY:${PN}-hooks = "ovl-restore's hooks for update engines, package managers, pre-init scripts and buttons"
FILES:${PN}-hooks = "${datadir}/ovl-restore"
SUMMARY:${PN}-dracut = "ovl-restore's dracut module: factory reset before the overlays are mounted"
FILES:${PN}-dracut = "${nonarch_libdir}/dracut"
RDEPENDS:${PN}-dracut += "${PN} bash"
FILES:${PN}-reset-cleanup-init = "${sysconfdir}/init.d/ovl-restore-reset-cleanup"
FILES:${PN} += "${nonarch_libdir}/tmpfiles.d ${nonarch_base_libdir}/udev ${systemd_unitdir}"

# The instances of ovl-restore-button@ are udev's.
SYSTEMD_SERVICE:${PN} = "ovl-restore-reconcile.service ovl-restore-baseline.service \
    ovl-restore-reset-request.service ovl-restore-reset-reboot.service ovl-restore-reset-cleanup.service"

# After mountall, and before what makes files; at shutdown, which calls S links
# with "stop", between sendsigs and umountfs. update-rc.d knows one script for each
# package.
INITSCRIPT_PACKAGES = "${PN} ${PN}-reset-cleanup-init"
INITSCRIPT_NAME:${PN} = "ovl-restore"
INITSCRIPT_PARAMS:${PN} = "start 36 S . start 30 0 6 ."
INITSCRIPT_NAME:${PN}-reset-cleanup-init = "ovl-restore-reset-cleanup"
INITSCRIPT_PARAMS:${PN}-reset-cleanup-init = "start 99 2 3 4 5 ."
RDEPENDS:${PN}:append:class-target = "${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', ' ${PN}-reset-cleanup-init', '', d)}"

# The policy is in the program, too; the keep list is not.
RRECOMMENDS:${PN}:append:class-target = " ${PN}-policy"
# Where the kernel has it built in, there is no such package.
RRECOMMENDS:${PN}:append:class-target = " kernel-module-overlay"

# What the on-device test mounts and looks with.
RDEPENDS:${PN}-ptest += "util-linux-mount util-linux-umount util-linux-unshare"

BBCLASSEXTEND = "native"
