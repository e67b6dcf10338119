# SPDX-License-Identifier: Apache-2.0
#
# inherit ovl-restore-image: an image whose overlays can be restored, fitted to
# the next image, and reset. Installs the program, lets the image say which it
# is, and uses the pre-init template of this layer with overlayfs-etc.

OVL_RESTORE_PACKAGES ?= "ovl-restore"
IMAGE_INSTALL:append = " ${OVL_RESTORE_PACKAGES}"

OVERLAYFS_ETC_INIT_TEMPLATE = "${OVL_RESTORE_LAYERDIR}/files/overlayfs-etc-preinit.sh.in"

# By these two, in os-release, a device tells one image from another: the version
# has to be another one in each image that is released.
OVL_RESTORE_IMAGE_ID ?= "${IMAGE_BASENAME}"
OVL_RESTORE_IMAGE_VERSION ?= "${DISTRO_VERSION}"

# Files of the configuration, policy and keep list, of the image's own: paths of
# this build, by where they go. Empty for the program's defaults.
OVL_RESTORE_CONFIG ?= ""
OVL_RESTORE_POLICY ?= ""
OVL_RESTORE_KEEP ?= ""

ovl_restore_identity() {
    file=${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    [ -f $file ] || bbfatal "the image has no ${nonarch_libdir}/os-release: install os-release"
    # BUILD_ID: images of one version that differ are two images all the same.
    sed -i '/^IMAGE_ID=/d; /^IMAGE_VERSION=/d; /^BUILD_ID=/d' $file
    build=$(cd ${IMAGE_ROOTFS} && tar --sort=name --mtime=@0 --numeric-owner -cf - . | sha256sum | cut -c1-16)
    printf 'IMAGE_ID="%s"\nIMAGE_VERSION="%s"\nBUILD_ID="%s"\n' \
        "${OVL_RESTORE_IMAGE_ID}" "${OVL_RESTORE_IMAGE_VERSION}" "$build" >>$file
}

ovl_restore_files() {
    dir=${IMAGE_ROOTFS}${nonarch_libdir}/ovl-restore
    for file in ${OVL_RESTORE_CONFIG}; do
        install -D -m 0644 $file $dir/ovl-restore.toml.d/$(basename $file)
    done
    for file in ${OVL_RESTORE_POLICY}; do
        install -D -m 0644 $file $dir/policy.d/$(basename $file)
    done
    for file in ${OVL_RESTORE_KEEP}; do
        install -D -m 0644 $file $dir/keep.d/$(basename $file)
    done
}

ROOTFS_POSTPROCESS_COMMAND += "ovl_restore_files"
# The last of what changes the image.
IMAGE_PREPROCESS_COMMAND:append = " ovl_restore_identity"

# What is in these files decides what is in the image.
do_rootfs[file-checksums] += "${@' '.join(f + ':True' for f in (d.getVar('OVL_RESTORE_CONFIG') + ' ' + d.getVar('OVL_RESTORE_POLICY') + ' ' + d.getVar('OVL_RESTORE_KEEP')).split())}"
