# SPDX-License-Identifier: Apache-2.0
#
# inherit ovl-restore-image: an image whose overlays can be restored, fitted to
# the next image, and reset. Installs the program, with its services enabled, and
# its policy; lets the image say which it is, and what is in it; and has
# overlayfs-etc use the pre-init template of this layer.

OVL_RESTORE_PACKAGES ?= "ovl-restore ovl-restore-policy ovl-restore-hooks"
IMAGE_INSTALL:append = " ${OVL_RESTORE_PACKAGES}"

# By these two, in os-release, a device tells one image from another: the version
# has to be another one in each image that is released.
OVL_RESTORE_IMAGE_ID ?= "${IMAGE_BASENAME}"
OVL_RESTORE_IMAGE_VERSION ?= "${DISTRO_VERSION}"

# What the pre-init script of overlayfs-etc mounts, as MOUNTPOINT:DIRECTORY, the
# directory having upper and work; in the order of mounting.
OVL_RESTORE_OVERLAYS ?= "/etc:${OVERLAYFS_ETC_MOUNT_POINT}/overlay-etc"

# Files of the configuration, policy and keep list, of the image's own: paths of
# this build, by where they go. Empty for the program's defaults.
OVL_RESTORE_CONFIG ?= ""
OVL_RESTORE_POLICY ?= ""
OVL_RESTORE_KEEP ?= ""

# Whether the image has a record of each of its entries. With it, a device knows
# after an update all of what it had before, not only what was recorded of it then.
OVL_RESTORE_MANIFEST ?= "1"

OVL_RESTORE_TEMPLATE = "${OVL_RESTORE_LAYERDIR}/files/overlayfs-etc-preinit.sh.in"
OVERLAYFS_ETC_INIT_TEMPLATE = "${WORKDIR}/ovl-restore-preinit.sh.in"

# Before overlayfs-etc reads it; unless the image names a template of its own.
ovl_restore_template() {
    sed "s|@OVERLAYS@|$(echo ${OVL_RESTORE_OVERLAYS} | tr : ' ')|" ${OVL_RESTORE_TEMPLATE} >${WORKDIR}/ovl-restore-preinit.sh.in
}
ROOTFS_POSTPROCESS_COMMAND:prepend = "ovl_restore_template "

ovl_restore_files() {
    dir=${IMAGE_ROOTFS}${nonarch_libdir}/ovl-restore
    for file in ${OVL_RESTORE_CONFIG}; do
        install -D -m 0644 $file "$dir/ovl-restore.toml.d/$(basename $file)"
    done
    for file in ${OVL_RESTORE_POLICY}; do
        install -D -m 0644 $file "$dir/policy.d/$(basename $file)"
    done
    for file in ${OVL_RESTORE_KEEP}; do
        install -D -m 0644 $file "$dir/keep.d/$(basename $file)"
    done
    # What the pre-init script mounts, for all that looks for uppers before that.
    if ${@bb.utils.contains('IMAGE_FEATURES', 'overlayfs-etc', 'true', 'false', d)}; then
        install -d -m 0755 $dir/ovl-restore.toml.d
        for overlay in ${OVL_RESTORE_OVERLAYS}; do
            mount=$(echo $overlay | cut -d: -f1)
            upper=$(echo $overlay | cut -d: -f2)
            install -d -m 0755 ${IMAGE_ROOTFS}$mount
            printf '[[overlay]]\nmount = "%s"\nlower = ["%s"]\nupper = "%s/upper"\nwork = "%s/work"\n\n' \
                $mount $mount $upper $upper
        done >$dir/ovl-restore.toml.d/10-image.toml
    fi
}
ROOTFS_POSTPROCESS_COMMAND += "ovl_restore_files"

# The last of what changes the image.
ovl_restore_identity() {
    file=${IMAGE_ROOTFS}${nonarch_libdir}/os-release
    manifest=${IMAGE_ROOTFS}${datadir}/ovl-restore/manifest.jsonl
    [ -f $file ] || bbfatal "the image has no ${nonarch_libdir}/os-release: install os-release"
    rm -f $manifest
    # BUILD_ID: images of one version that differ are two images all the same.
    sed -i '/^IMAGE_ID=/d; /^IMAGE_VERSION=/d; /^BUILD_ID=/d' $file
    build=$(cd ${IMAGE_ROOTFS} && tar --sort=name --mtime=@0 --numeric-owner -cf - . | sha256sum | cut -c1-16)
    printf 'IMAGE_ID="%s"\nIMAGE_VERSION="%s"\nBUILD_ID="%s"\n' \
        "${OVL_RESTORE_IMAGE_ID}" "${OVL_RESTORE_IMAGE_VERSION}" "$build" >>$file
    # Packed by tar, which pseudo shows the owners that the image will have; it
    # cannot show them to a static program.
    if [ "${OVL_RESTORE_MANIFEST}" = 1 ]; then
        mkdir -p "$(dirname $manifest)"
        tar --create --directory ${IMAGE_ROOTFS} --sort=name --numeric-owner --xattrs --xattrs-include='*' --hard-dereference . |
            ovl-restore manifest >${WORKDIR}/ovl-restore-manifest || bbfatal "the manifest was not written"
        install -m 0644 ${WORKDIR}/ovl-restore-manifest $manifest
    fi
    # As image.bbclass does, which has been here before.
    [ -z "$REPRODUCIBLE_TIMESTAMP_ROOTFS" ] ||
        find ${IMAGE_ROOTFS}${nonarch_libdir} ${IMAGE_ROOTFS}${datadir} -maxdepth 2 -newermt @$REPRODUCIBLE_TIMESTAMP_ROOTFS \
            -exec touch -h --date=@$REPRODUCIBLE_TIMESTAMP_ROOTFS {} +
}
IMAGE_PREPROCESS_COMMAND:append = " ovl_restore_identity"
do_image[depends] += "ovl-restore-native:do_populate_sysroot"

# What is in these files decides what is in the image.
do_rootfs[file-checksums] += "${OVL_RESTORE_TEMPLATE}:True ${@' '.join(f + ':True' for f in (d.getVar('OVL_RESTORE_CONFIG') + ' ' + d.getVar('OVL_RESTORE_POLICY') + ' ' + d.getVar('OVL_RESTORE_KEEP')).split())}"
