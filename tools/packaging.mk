# SPDX-License-Identifier: Apache-2.0
#
# What is made of the program for others to install. The Makefile includes this.

# When the sources are from: what the manual is dated with, and the files in
# archives. A release's tarball has it in a file.
SOURCE_DATE_EPOCH ?= $(shell cat .source-date 2>/dev/null || git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

# A release's tarball has the modules. go.sum says what has to be in them.
ifneq ($(wildcard modules/.),)
export GOPROXY := file://$(CURDIR)/modules
export GOSUMDB := off
endif

# The manual and the completions are made from the commands, and in no
# repository. So a new command needs nothing here: what it says of itself is its
# page; man/sections/ovl-restore-COMMAND.8 adds files, examples and the like.
# This runs on the machine that builds, whatever that builds for.
.PHONY: man lint-man
man: ## the manual, in build/docs/man; make install takes it
	@rm -rf build/docs
	@env -u GOOS -u GOARCH -u GOARM $(STATIC) go run -tags gendocs -ldflags '-X main.version=$(VERSION)' \
		./cmd/$(NAME) build/docs "$$(date -u -d @$(SOURCE_DATE_EPOCH) +%F)"

lint-man: man
	tools/need.sh groff=groff-base mandoc=mandoc
	@tools/lint-man.sh build/docs/man/*

# For the Yocto recipe: where the modules come from, and their licences.
.PHONY: yocto-modules lint-yocto
yocto-modules: ## what the Yocto recipe says of the modules, from go.mod
	tools/yocto-modules.sh

lint-yocto:
	tools/need.sh shellcheck=shellcheck python3=python3-minimal
	tools/lint-layer.sh
	tools/unchanged.sh $(MAKE) -s yocto-modules

.PHONY: kernel-squash check-kernel-squash
kernel-squash: ## each series of kernel patches as one patch
	tools/squash-patches.sh make $(KERNEL_SERIES)

check-kernel-squash:
	tools/squash-patches.sh check $(KERNEL_SERIES)

DIST := build/dist/$(NAME)-$(VERSION)
.PHONY: dist sbom
dist: ## build/dist/*.tar.xz: the sources, with what it takes to build them without a network
	@mkdir -p $(dir $(DIST))
	tools/dist.sh $(VERSION) $(SOURCE_DATE_EPOCH) $(DIST).tar.xz

sbom: build ## build/dist/*.spdx.json: what is in the program, in SPDX
	@mkdir -p $(dir $(DIST))
	$(STATIC) go run ./dist/sbom build/$(NAME) $(VERSION) \
		yocto/meta-ovl-restore/recipes-core/ovl-restore/ovl-restore-licenses.inc >$(DIST).spdx.json

DEB_ARCHITECTURES ?= amd64 arm64 armhf
.PHONY: packaging-tools deb check-deb
packaging-tools:
	@tools/need.sh dpkg-buildpackage=dpkg-dev dh=debhelper dh_dkms=dh-dkms lintian=lintian unzip=unzip \
		qemu-arm-static=qemu-user-static busybox=busybox-static shellcheck=shellcheck python3=python3-minimal pseudo=pseudo

deb: packaging-tools dist ## build/deb/*.deb: the Debian packages; DEB_ARCHITECTURES
	tools/deb.sh $(DIST).tar.xz build/deb $(DEB_ARCHITECTURES)
	lintian --allow-root --fail-on error,warning build/deb/*.deb

check-deb: deb ## install, use and purge them in a bare Debian 12 in QEMU, as root; some minutes
	tools/check-deb.sh build/deb

# What is made for others to install, tried without their tools; each of them says
# at its end what it saw. Two at a time: most of it is waiting for the disk.
.PHONY: check-packaging check-dist check-deb-again check-armhf check-recipe check-image check-ptest
check-packaging: packaging-tools ## the tarball, the SBOM, the Debian packages, the Yocto recipe and image class without BitBake
	@[ "$$(id -u)" = 0 ] || { echo 'the tests mount overlays: run this as root' >&2; exit 1; }
	@$(MAKE) --no-print-directory -j2 --output-sync=target check-deb-again check-armhf check-dist check-recipe check-image check-ptest check-kernel-squash sbom

check-dist: dist build
	tools/check-dist.sh $(DIST).tar.xz build/$(NAME)

# In another place, by somebody with other settings, the same packages.
check-deb-again: deb
	@rm -rf build/deb-again
	umask 077 && TZ=Asia/Tokyo LC_ALL=C LANG=C HOME=/nonexistent GOCACHE=$$(go env GOCACHE) GOMODCACHE=$$(go env GOMODCACHE) \
		tools/deb.sh $(DIST).tar.xz build/deb-again amd64
	@for deb in build/deb-again/*.deb; do cmp $$deb build/deb/$${deb##*/} || exit; done
	@echo "check-deb-again: $$(ls build/deb-again/*.deb | wc -l) packages, the same as before"

check-armhf: deb
	tools/check-armhf.sh build/deb

check-recipe: packaging-tools
	tools/yocto-compile.sh

check-image: build packaging-tools
	tools/check-image.sh build/$(NAME)

check-ptest: build
	PATH="$(CURDIR)/build:$$PATH" yocto/meta-ovl-restore/recipes-core/ovl-restore/files/run-ptest

.PHONY: yocto-srcrev release-check
yocto-srcrev: ## let the Yocto recipe fetch the commit that is checked out
	sed -i 's/^SRCREV ?= .*/SRCREV ?= "'"$$(git rev-parse HEAD)"'"/' yocto/meta-ovl-restore/recipes-core/ovl-restore/ovl-restore_git.bb

release-check: ## the checklist of a release
	@tools/release-check.sh
