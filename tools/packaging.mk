# SPDX-License-Identifier: Apache-2.0
#
# What is made of the program for others to install. The Makefile includes this.

# When the sources are from: what the manual is dated with, and the files in
# archives. A release's tarball has it in a file.
SOURCE_DATE_EPOCH ?= $(shell cat .source-date 2>/dev/null || git log -1 --format=%ct 2>/dev/null || echo 0)
export SOURCE_DATE_EPOCH

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
