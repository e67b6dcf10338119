# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help

PREFIX ?= /usr/local
DESTDIR ?=
bindir = $(DESTDIR)$(PREFIX)/bin
datadir = $(DESTDIR)$(PREFIX)/share

NAME := ovl-restore
VERSION := $(shell cat .version 2>/dev/null || git describe --always --dirty --tags 2>/dev/null || echo unknown)
# With the same flags everywhere, what one target compiled serves the others.
STATIC = CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false'
LEAN := build/lean/go.mod
GOBUILD = $(STATIC) go build -modfile=$(LEAN) -ldflags '-s -w -X main.version=$(VERSION)'

# What a 32-bit device has little of is room: there, no function is inlined, and
# segments are aligned to pages of 4 KiB.
SMALL = -gcflags=all=-l -ldflags '-s -w -R 0x1000 -X main.version=$(VERSION)'

# The race detector needs cgo and a C compiler.
RACE := $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v "$$(go env CC)" >/dev/null && echo -race)
# Without this, a program built with it sleeps for a second before it exits.
export GORACE := atexit_sleep_ms=10
# Vetting is make lint's work. TESTFLAGS is for people: -run, -count, -short.
TESTFLAGS ?=
GOTEST = go test -json -vet=off $(TESTFLAGS)
SUMMARY := build/summary
SUMMARYFLAGS ?=
HOST_PACKAGES = $(shell go list ./... | grep -v -e '/test/vm$$' -e '/test/appliance$$')

LINTER := go tool -modfile=tools/go.mod golangci-lint

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  install takes DESTDIR and PREFIX ($(PREFIX)); the tests take TESTFLAGS'

.PHONY: build build-armv7 build-arm64 build-all
build: $(LEAN) ## build/ovl-restore, static, for this machine; packages set GOARCH
	$(GOBUILD) $(if $(filter arm,$(GOARCH)),$(SMALL)) -o build/$(NAME) ./cmd/$(NAME)

build-armv7: $(LEAN) ## build/ovl-restore-armv7
	GOOS=linux GOARCH=arm GOARM=7 $(GOBUILD) $(SMALL) -o build/$(NAME)-armv7 ./cmd/$(NAME)

build-arm64: $(LEAN) ## build/ovl-restore-arm64
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o build/$(NAME)-arm64 ./cmd/$(NAME)

build-all: build build-armv7 build-arm64 ## all of these

# The modules without what the program does not use of them.
$(LEAN): go.mod go.sum tools/lean.sh
	tools/lean.sh $(@D)
	@touch $@

# Rings: unit, host (real overlays in a private name space), vm, and a whole
# device. A failure in one does not keep the others from running.
.PHONY: test test-unit test-vm test-appliance
test: $(SUMMARY) $(LEAN) ## every test: here, without root's privileges, in the kernels in QEMU, and on a device there
	@{ failed=0; $(host_tests); $(vm_tests); $(appliance_tests); exit $$failed; } | $(SUMMARY) $(SUMMARYFLAGS)

test-unit: $(SUMMARY) $(LEAN) ## the tests that need no virtual machine
	@{ failed=0; $(host_tests); exit $$failed; } | $(SUMMARY) $(SUMMARYFLAGS)

test-vm: $(SUMMARY) ## the tests in the kernels in QEMU; OVL_VM_RUN=Pattern selects
	@{ failed=0; $(vm_tests); exit $$failed; } | $(SUMMARY) $(SUMMARYFLAGS)

test-appliance: $(SUMMARY) ## the tests on a whole device in QEMU, with systemd and RAUC
	@{ failed=0; $(appliance_tests); exit $$failed; } | $(SUMMARY) $(SUMMARYFLAGS)

# Root runs the tests a second time as everybody else does: root in a user name
# space only, and with the modules that the program is built with. -count=1, for
# the go command would take another run's result for it. 386 stands for the
# 32-bit machines that we ship to.
define host_tests
	$(GOTEST) $(RACE) $(HOST_PACKAGES) || failed=1; \
	if [ "$$(id -u)" = 0 ]; then OVL_TEST_NAMESPACE=user $(STATIC) $(GOTEST) -modfile=$(LEAN) -count=1 $(HOST_PACKAGES) || failed=1; fi; \
	GOARCH=386 $(STATIC) $(GOTEST) ./internal/ioctl || failed=1
endef

define vm_tests
	$(GOTEST) -timeout 45m ./test/vm || failed=1
endef

# -count=1: what runs on the device is built by other programs than this.
define appliance_tests
	$(GOTEST) -count=1 -timeout 30m ./test/appliance || failed=1
endef

# To change the kernel patches: make kernel-tree, commit in the git repositories
# that it makes, one commit for each patch, and make kernel-patches.
.PHONY: kernel-tree kernel-patches
KERNEL_SERIES = 6.1 6.12
kernel-tree: ## the kernel sources that the patches are for, as git repositories
	@for s in $(KERNEL_SERIES); do test/vm/kernel/patches.sh tree $$s build/kernel/$$s || exit; done

kernel-patches: ## the kernel patches, written anew from those repositories
	@for s in $(KERNEL_SERIES); do test/vm/kernel/patches.sh export $$s build/kernel/$$s || exit; done
	tools/squash-patches.sh make $(KERNEL_SERIES)

.PHONY: kernel-check
kernel-check: ## the kernel patches by git am, checkpatch.pl --strict and sparse, each commit built
	@for s in $(KERNEL_SERIES); do test/vm/kernel/patches.sh check $$s || exit; done

# The kernel patches, for longer and on more than make test does. The debug
# kernels take ten minutes each to build, once for each change of the patches.
.PHONY: test-kernel test-kernel-race test-kernel-debug test-kernel-32 test-kernel-arm test-kernel-arm64 test-kernel-powercut test-kernel-selftest test-kernel-mutants
kernel_tests = go test -count=1 -timeout 3h -tags vmlong -v ./test/vm -run '^TestKernel$$'

test-kernel: ## the kernel tests on all file systems that the kernels have
	OVL_VM_FILESYSTEMS=1 $(kernel_tests)

test-kernel-race: ## eight threads on the same names, for a minute on each of four kinds of overlays
	OVL_RACE=240s OVL_VM_RUN='^TestRace$$' $(kernel_tests)

test-kernel-debug: ## the kernel tests and the race, with lockdep and KASAN
	OVL_RACE=60s OVL_VM_VARIANT=debug $(kernel_tests)

test-kernel-32: ## the kernel tests as a 32-bit program on the 64-bit kernels
	OVL_VM_GOARCH=386 $(kernel_tests)

test-kernel-arm: ## the kernel tests on 32-bit ARM
	OVL_VM_ARCH=armhf OVL_VM_FILESYSTEMS=1 $(kernel_tests)

test-kernel-arm64: ## the kernel tests on arm64, as a 64-bit program and as one for 32-bit ARM
	OVL_VM_ARCH=arm64 $(kernel_tests)
	OVL_VM_ARCH=arm64 OVL_VM_GOARCH=arm $(kernel_tests)

test-kernel-powercut: ## cut the guests' power while names are restored
	go test -count=1 -timeout 1h -tags vmlong -v ./test/vm -run '^TestRestorePowerCut$$'

test-kernel-selftest: ## the kselftest that the kernel patches add
	go test -count=1 -timeout 30m -tags vmlong -v ./test/vm -run '^TestSelftest$$'

test-kernel-mutants: ## the tests against wrong patches, each of which one has to notice; OVL_MUTANTS=3,7 selects
	go test -count=1 -timeout 4h -tags vmlong -v ./test/vm -run '^TestMutants$$'

.PHONY: test-initramfs test-reset-powercut
test-initramfs: build ## resets in an initramfs of Debian's initramfs-tools, and of dracut, in QEMU; as root
	test/initramfs/test.sh build/initramfs

test-reset-powercut: ## cut a device's power at 500 random moments of factory resets
	OVL_POWERCUTS=500 go test -count=1 -timeout 3h -v ./test/vm -run '^TestDevice$$/cuts'

.PHONY: $(SUMMARY)
$(SUMMARY):
	@go build -o $@ ./test/summary

.PHONY: lint lint-go lint-shell lint-tree fmt
lint: lint-go lint-shell lint-tree lint-man lint-yocto ## everything that can be found without running it

lint-go:
	$(LINTER) config verify
	$(LINTER) run ./...
	$(STATIC) go vet -tags vmguest,gendocs,vmlong ./...
	GOARCH=arm GOARM=7 $(STATIC) go vet ./...
	GOARCH=arm64 $(STATIC) go vet ./...
	GOARCH=386 $(STATIC) go vet ./internal/ioctl

lint-shell:
	tools/need.sh shellcheck=shellcheck
	tools/shell-scripts.sh | xargs -0 -r shellcheck

# What is generated or formatted by a tool has to be as the tool makes it.
lint-tree:
	go mod tidy -diff
	tools/unchanged.sh go generate ./...
	tools/unchanged.sh $(LINTER) fmt ./...

fmt: ## format the sources
	$(LINTER) fmt ./...

VM := build/vm/boot
.PHONY: $(VM) bench demo demo-vm
$(VM):
	@mkdir -p $(@D)
	@go build -o $@ ./test/vm/boot

bench: $(VM) bench-walk bench-reconcile bench-reset build-all ## the benchmarks: of restoring, in the patched kernel in QEMU, those below, and sizes
	$(VM) -memory 2048 -limit 30m -program ./test/bench -- bench
	$(VM) -memory 2048 -limit 30m -program ./test/bench/reconcile -- reconcile -inside
	@echo; stat -c '%s bytes: %n' build/$(NAME) build/$(NAME)-armv7 build/$(NAME)-arm64

.PHONY: bench-walk
bench-walk: ## how fast a million entries are walked and compared, here, against find
	@mkdir -p build
	@go build -o build/bench-walk ./test/bench/walk
	build/bench-walk

.PHONY: bench-reset
bench-reset: ## how long a factory reset takes, here, of ten entries and of a million
	@mkdir -p build
	@go build -o build/bench-reset ./test/bench/reset
	build/bench-reset

.PHONY: bench-reconcile test-reconcile-kill
bench-reconcile: ## what it costs to fit an upper to a new image, here, against find
	@mkdir -p build
	@go build -o build/bench-reconcile ./test/bench/reconcile
	build/bench-reconcile

test-reconcile-kill: ## an update and a rollback, killed at every system call and 200 times at random
	OVL_LONG=1 go test -count=1 -timeout 30m -run 'Kill|Fail' -v ./internal/reconcile

demo: build ## the story, on this machine: nothing on it changes
	PATH="$(CURDIR)/build:$$PATH" test/demo/demo.sh

demo-vm: $(VM) ## the same with the patched kernel, in QEMU
	$(VM) -file test/demo:/demo -- env OVL_DEMO=inside sh /demo/demo.sh

include tools/install.mk

include tools/packaging.mk

.PHONY: clean
clean: ## remove what was built, but not the kernels that were fetched
	rm -rf build/$(NAME)* build/docs build/lean build/summary build/vm/bin build/vm/boot

.PHONY: distclean
distclean: ## remove all of build, kernels too
	rm -rf build
