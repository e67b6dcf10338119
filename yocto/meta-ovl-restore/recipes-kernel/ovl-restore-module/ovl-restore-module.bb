# SPDX-License-Identifier: Apache-2.0

SUMMARY = "overlayfs with the ioctls of ovl-restore, as a module"
DESCRIPTION = "For a kernel whose recipe cannot be changed: builds its own \
fs/overlayfs with the patches, outside of its tree. The kernel must not have \
overlayfs built in."
HOMEPAGE = "https://github.com/ovl-restore/ovl-restore"
LICENSE = "GPL-2.0-only"
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/files/common-licenses/GPL-2.0-only;md5=801f80980d171dd6425610833a22dbe6"

inherit module

# The patches are the kernel's, and so is where they are kept.
FILESEXTRAPATHS:prepend := "${THISDIR}/../linux/files:"
SRC_URI = "file://6.1 file://6.12"
S = "${UNPACKDIR}"

# module.bbclass would make a package of the name that the kernel's own has.
KERNEL_MODULE_PACKAGE_PREFIX = "ovl-restore-"

MODULE_TREE = "${B}/tree"
B = "${WORKDIR}/build"

# They are applied to the kernel's source, which do_patch knows nothing of.
do_patch[noexec] = "1"

do_configure() {
    series=$(echo "${KERNEL_VERSION}" | cut -d. -f1,2)
    [ -d "${UNPACKDIR}/$series" ] || bbfatal "no overlayfs patches for Linux ${KERNEL_VERSION}"
    if grep -q '^CONFIG_OVERLAY_FS=y' ${STAGING_KERNEL_BUILDDIR}/.config; then
        bbfatal "this kernel has overlayfs built in: set CONFIG_OVERLAY_FS=m, or patch the kernel (DISTRO_FEATURES += \"ovl-restore\")"
    fi
    rm -rf ${MODULE_TREE}
    mkdir -p ${MODULE_TREE}
    # What the patches may touch, and what fs/overlayfs includes.
    for part in MAINTAINERS Documentation/filesystems fs/overlayfs include/uapi/linux tools/testing/selftests/filesystems \
        tools/testing/selftests/Makefile Documentation/userspace-api/ioctl; do
        [ -e ${STAGING_KERNEL_DIR}/$part ] || continue
        mkdir -p "${MODULE_TREE}/$(dirname $part)"
        cp -r ${STAGING_KERNEL_DIR}/$part ${MODULE_TREE}/$part
    done
    cp ${STAGING_KERNEL_DIR}/fs/*.h ${MODULE_TREE}/fs/
    for patch in ${UNPACKDIR}/$series/*.patch; do
        patch -d ${MODULE_TREE} -p1 --no-backup-if-mismatch <$patch
    done
}

do_compile() {
    unset CFLAGS CPPFLAGS CXXFLAGS LDFLAGS
    oe_runmake -C ${STAGING_KERNEL_DIR} O=${STAGING_KERNEL_BUILDDIR} M=${MODULE_TREE}/fs/overlayfs \
        CC="${KERNEL_CC}" LD="${KERNEL_LD}" AR="${KERNEL_AR}" OBJCOPY="${KERNEL_OBJCOPY}" STRIP="${KERNEL_STRIP}" \
        CONFIG_OVERLAY_FS=m KCPPFLAGS="-I${MODULE_TREE}/include/uapi -I${MODULE_TREE}/include" modules
}

# depmod prefers what is in updates to the kernel's own.
do_install() {
    install -D -m 0644 ${MODULE_TREE}/fs/overlayfs/overlay.ko \
        ${D}${nonarch_base_libdir}/modules/${KERNEL_VERSION}/updates/overlay.ko
}

RPROVIDES:${PN} += "ovl-restore-kernel-module-overlay"
