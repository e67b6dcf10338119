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
SRCREV ?= "a2232d8ad43fd69efe844f12da830898ff3e14bb"
PV = "0.1.0+git"

require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc

inherit go-mod bash-completion ptest

# Static: without cgo, without the C library's loader, not as a PIE. make build
# strips, so that the program is the one that every other build of this commit
# with the same Go makes.
CGO_ENABLED = "0"
GO_LINKSHARED = ""
INSANE_SKIP:${PN} += "already-stripped"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"

# The manual and the completions are made by the program for this machine.
DEPENDS:append:class-target = " ovl-restore-native"

OVL_RESTORE_MAKE = "-C ${S}/src/${GO_IMPORT} VERSION=${PV} STATIC=CGO_ENABLED=0"

do_compile() {
    export TMPDIR="${GOTMPDIR}"
    # The Makefile says go; GO has a prefix.
    mkdir -p ${B}/shim
    ln -snf $(command -v ${GO}) ${B}/shim/go
    export PATH="${B}/shim:$PATH"
    export GOFLAGS="-trimpath -buildvcs=false -modcacherw"
    oe_runmake ${OVL_RESTORE_MAKE} build
}

do_compile:append:class-native() {
    oe_runmake ${OVL_RESTORE_MAKE} man
}

do_install() {
    install -D -m 0755 ${S}/src/${GO_IMPORT}/build/ovl-restore ${D}${bindir}/ovl-restore
}

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
}

do_install_ptest() {
    install -D -m 0755 ${UNPACKDIR}/run-ptest ${D}${PTEST_PATH}/run-ptest
}

PACKAGES =+ "${PN}-zsh-completion ${PN}-fish-completion"
FILES:${PN}-zsh-completion = "${datadir}/zsh"
FILES:${PN}-fish-completion = "${datadir}/fish"

# What the on-device test mounts and looks with.
RDEPENDS:${PN}-ptest += "util-linux-mount util-linux-umount util-linux-unshare"

# Where the kernel has it built in, there is no such package.
RRECOMMENDS:${PN} += "kernel-module-overlay"

BBCLASSEXTEND = "native"
