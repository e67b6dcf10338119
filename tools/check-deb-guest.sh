#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-deb-guest.sh: what check-deb.sh does inside the virtual machine, a bit of it
# in each boot: install the package, look at its services, let the image under an
# overlay change, do a factory reset, and purge the package.
#
# shellcheck disable=SC2317 # the steps are called by their numbers
set -Eeuo pipefail
exec >/dev/ttyS1 2>&1

export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
readonly at=/srv/check units="ovl-restore-reconcile ovl-restore-baseline ovl-restore-reset-cleanup"

# QEMU ends with the guest: -no-reboot.
trap 'echo "check: FAILED in line $LINENO of step $step"; systemctl --no-pager --failed; journalctl -b --no-pager -u "ovl-restore*" | tail -n 40; systemctl --force --force reboot' ERR

is() { [ "$(cat "$at/merged/$1")" = "$2" ]; }

# What packages leave: not what programs note while they run.
files() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /srv -o -path /root -o -path /var/log \
		-o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd/timers -o -path /var/lib/systemd/catalog \
		-o -path '/var/lib/systemd/random-seed' -o -path '/var/tmp/*' -o -path '/etc/.updated' -o -path '/var/.updated' \) -prune -o -print | sort
}

image() { # image VERSION: the lower
	mkdir -p "$at/lower/etc"
	printf 'IMAGE_ID=test\nIMAGE_VERSION=%s\n' "$1" >"$at/lower/etc/os-release"
	echo "image $1" | tee "$at/lower/copied" "$at/lower/removed" >"$at/lower/edited"
}

step1() {
	files >/root/before
	dpkg -i /root/deb/ovl-restore_*_amd64.deb
	ovl-restore --version
	for unit in $units ovl-restore-reset-request ovl-restore-reset-reboot; do
		systemd-analyze verify --man=no "$unit.service"
		[ "$(systemctl is-enabled "$unit.service")" = enabled ]
	done
	systemd-analyze verify --man=no ovl-restore-button@event0.service
	udevadm control --reload
	[ -z "$(journalctl -b --no-pager -u systemd-udevd | grep ovl-restore || true)" ]
	systemd-tmpfiles --cat-config | grep -q '^x /tmp/\*.ovl-restore$'
	[ "$(lsinitramfs "/boot/initrd.img-$(uname -r)" | grep -cx 'usr/bin/ovl-restore\|scripts/local-bottom/ovl-restore-reset')" = 2 ]
	mkdir -p "$at"/{lower,data/upper,data/work,merged}
	image 1
	echo "overlay $at/merged overlay lowerdir=$at/lower,upperdir=$at/data/upper,workdir=$at/data/work 0 0" >>/etc/fstab
}

step2() {
	for unit in ovl-restore-reconcile ovl-restore-baseline; do
		[ "$(systemctl is-active "$unit.service")" = active ]
	done
	mountpoint "$at/merged"
	# The module that DKMS built is the one that is loaded.
	[[ $(modinfo -n overlay) = */updates/dkms/overlay.ko* ]]
	ovl-restore status "$at/merged"
	ovl-restore status "$at/merged" | grep -q ioctl
	touch "$at/merged/copied"
	echo user >"$at/merged/edited"
	rm "$at/merged/removed"
	echo mine >"$at/merged/mine"
	ovl-restore "$at/merged" "$at/merged/removed"
	is removed "image 1"
	rm "$at/merged/removed"
}

# At shutdown, the baseline was recorded. The next image comes.
step3() {
	ls "$at/data/upper.ovl-restore/baseline.jsonl"
	umount "$at/merged"
	image 2
}

# At boot, the overlay was fitted to it, before anything else ran.
step4() {
	is copied "image 2"
	is edited user
	is mine mine
	[ ! -e "$at/merged/removed" ]
	ovl-restore log "$at/merged"
	echo "check: factory reset"
	trap - ERR
	systemctl start --no-block factory-reset.target
	sleep 600 # it reboots
}

# In the initramfs, the reset was done; the uppers are on the root's file system.
step5() {
	is edited "image 2"
	is removed "image 2"
	[ ! -e "$at/merged/mine" ]
	for _ in {1..60}; do
		[ "$(systemctl is-active ovl-restore-reset-cleanup.service)" = activating ] || break
		sleep 1
	done
	ovl-restore reset status
	[ -z "$(find "$at/data" -name mine)" ]
	[ -z "$(systemctl --failed --no-legend)" ]
	umount "$at/merged"
	sed -i '/ovl/d; /merged/d' /etc/fstab
	systemctl daemon-reload
	dpkg -P ovl-restore
	files >/root/after
	diff /root/before /root/after
	[ -z "$(systemctl list-unit-files --no-legend 'ovl-restore*' || true)" ]
	[ "$(systemctl is-system-running || true)" != degraded ]
	echo "check: DONE"
}

step=$(($(cat /root/step 2>/dev/null || echo 0) + 1))
echo "$step" >/root/step
echo "check: step $step"
"step$step"
systemctl reboot
