# SPDX-License-Identifier: Apache-2.0

SUMMARY = "A small image with /etc on an overlay that ovl-restore looks after"
LICENSE = "MIT"

IMAGE_FEATURES += "overlayfs-etc read-only-rootfs"
IMAGE_INSTALL = "packagegroup-core-boot os-release"

inherit core-image ovl-restore-image

# A machine's configuration says these; here, the second disk of QEMU.
OVERLAYFS_ETC_MOUNT_POINT ?= "/data"
OVERLAYFS_ETC_FSTYPE ?= "ext4"
OVERLAYFS_ETC_DEVICE ?= "/dev/vdb"
# The image has the mount points: nothing has to be made on the read-only root.
OVERLAYFS_ETC_CREATE_MOUNT_DIRS = "0"

create_data_mount_point() {
    install -d ${IMAGE_ROOTFS}${OVERLAYFS_ETC_MOUNT_POINT}
}
ROOTFS_POSTPROCESS_COMMAND += "create_data_mount_point"
