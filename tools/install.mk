# SPDX-License-Identifier: Apache-2.0
#
# What goes where on a device. The Makefile includes this. Each part is a target
# of its own, for packages that want it in parts; the directories are variables.

unitdir ?= $(PREFIX)/lib/systemd/system
presetdir ?= $(PREFIX)/lib/systemd/system-preset
tmpfilesdir ?= $(PREFIX)/lib/tmpfiles.d
initdir ?= /etc/init.d
hookdir ?= $(PREFIX)/share/$(NAME)
udevdir ?= $(PREFIX)/lib/udev/rules.d
# The program looks for them there, wherever it is itself.
confdir ?= /usr/lib/$(NAME)
# Here, where they are used.
initramfsdir ?= /usr/share/initramfs-tools
dracutdir ?= /usr/lib/dracut/modules.d

.PHONY: install install-bin install-docs install-systemd install-hooks install-policy install-udev install-initramfs-tools install-dracut install-sysvinit
install: install-bin install-docs install-systemd install-hooks install-policy install-udev ## everything but the last three; or one of the next

install-bin: build ## the program
	install -D -m 755 build/$(NAME) $(bindir)/$(NAME)

install-docs: man ## the shells' completions, the manual
	install -D -m 644 build/docs/completions/bash $(datadir)/bash-completion/completions/$(NAME)
	install -D -m 644 build/docs/completions/zsh $(datadir)/zsh/site-functions/_$(NAME)
	install -D -m 644 build/docs/completions/fish $(datadir)/fish/vendor_completions.d/$(NAME).fish
	for page in build/docs/man/*; do install -D -m 644 -t $(datadir)/man/man$${page##*.} $$page || exit; done

install-systemd: ## the units, their presets and tmpfiles, into unitdir, presetdir and tmpfilesdir
	install -D -m 644 -t $(DESTDIR)$(unitdir) systemd/*.service
	for dir in systemd/*.d; do install -D -m 644 -t "$(DESTDIR)$(unitdir)/$${dir##*/}" "$$dir"/* || exit; done
	sed -i 's|/usr/bin/$(NAME)|$(PREFIX)/bin/$(NAME)|' $(DESTDIR)$(unitdir)/$(NAME)-*.service
	install -D -m 644 -t $(DESTDIR)$(presetdir) systemd/*.preset
	install -D -m 644 systemd/$(NAME).tmpfiles $(DESTDIR)$(tmpfilesdir)/$(NAME).conf

# Nothing calls them there: who makes a device puts them where its update engine
# looks. Each says in its first lines where that is.
install-hooks: ## the hooks for update engines and package managers, into hookdir
	install -d $(DESTDIR)$(hookdir)
	cp -R --no-preserve=ownership,timestamps integrations/. $(DESTDIR)$(hookdir)
	find $(DESTDIR)$(hookdir) -type f -exec sed -i 's|/usr/share/$(NAME)/|$(hookdir)/|g' {} +

install-policy: ## the default policy and keep list, as files, into confdir
	install -d $(DESTDIR)$(confdir)/policy.d $(DESTDIR)$(confdir)/keep.d
	install -m 644 internal/reconcile/policy.d/*.toml $(DESTDIR)$(confdir)/policy.d
	install -m 644 integrations/keep.d/*.conf $(DESTDIR)$(confdir)/keep.d

install-udev: ## the rule for the reset button, into udevdir
	install -d $(DESTDIR)$(udevdir)
	install -m 644 integrations/udev/*.rules $(DESTDIR)$(udevdir)

# Each initramfs that is made from then on does requested factory resets.
install-initramfs-tools: ## the hook and script for initramfs-tools, into initramfsdir
	install -d $(DESTDIR)$(initramfsdir)
	cp -R --no-preserve=ownership,timestamps integrations/initramfs-tools/. $(DESTDIR)$(initramfsdir)

install-dracut: ## the module for dracut, into dracutdir
	install -d $(DESTDIR)$(dracutdir)
	cp -R --no-preserve=ownership,timestamps integrations/dracut/. $(DESTDIR)$(dracutdir)

# In place of install-systemd, for another init; update-rc.d or insserv link them.
install-sysvinit: ## the scripts for sysvinit, into initdir
	install -D -m 755 -t $(DESTDIR)$(initdir) integrations/sysvinit/*
