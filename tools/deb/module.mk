# make install, make deb

DESTDIR ?=
PREFIX  ?= /usr
SYSCONFDIR ?= /etc
UNITDIR ?= /lib/systemd/system

DEB_VERSION = 0.1+git$(shell git rev-list --count HEAD 2>/dev/null || echo 0).$(shell \
	git rev-parse --short HEAD 2>/dev/null || echo unknown)
DEB_STAGE := $(BUILD)/deb/root
install-in := install -D -m 644
doc-dir = $(DESTDIR)$(PREFIX)/share/doc/freshet

.PHONY: install deb

install: $(BUILD)/freshet.efi $(BUILD)/freshet $(BUILD)/freshetd ## install server, tools and boot file (DESTDIR, PREFIX)
	$(Q)install -D -m 755 $(BUILD)/freshet $(DESTDIR)$(PREFIX)/bin/freshet
	$(Q)install -D -m 755 $(BUILD)/freshetd $(DESTDIR)$(PREFIX)/sbin/freshetd
	$(Q)$(install-in) $(BUILD)/freshet.efi $(DESTDIR)$(PREFIX)/lib/freshet/freshet.efi
	$(Q)$(install-in) boot/ipxe/boot.ipxe.in $(DESTDIR)$(PREFIX)/share/freshet/boot.ipxe.in
	$(Q)test -e $(DESTDIR)$(SYSCONFDIR)/freshet/freshetd.conf || \
		$(install-in) server/freshetd.conf $(DESTDIR)$(SYSCONFDIR)/freshet/freshetd.conf
	$(Q)for u in freshetd.service freshet-gc.service freshet-gc.timer; do \
		$(install-in) server/$$u $(DESTDIR)$(UNITDIR)/$$u || exit 1; done
	$(Q)$(install-in) images/freshet.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/freshet
	$(Q)for m in freshet.1 freshetd.8; do d=$(DESTDIR)$(PREFIX)/share/man/man$${m##*.}; \
		$(install-in) docs/man/$$m $$d/$$m && gzip -9nf $$d/$$m || exit 1; done
	$(Q)for f in README.md docs/messages.md docs/threat-model.md docs/api/openapi.json boot/dnsmasq/freshet.conf; do \
		$(install-in) $$f $(doc-dir)/$$(basename $$f) || exit 1; done
	$(Q)for f in docs/howto/*.md; do $(install-in) $$f $(doc-dir)/howto/$$(basename $$f) || exit 1; done

deb: ## a Debian package, build/freshet_amd64.deb
	$(Q)rm -rf $(BUILD)/deb
	$(Q)$(MAKE) --no-print-directory install DESTDIR=$(abspath $(DEB_STAGE))
	$(Q)strip --strip-unneeded $(DEB_STAGE)/usr/bin/freshet $(DEB_STAGE)/usr/sbin/freshetd
	$(Q)tools/deb/build.sh $(abspath $(DEB_STAGE)) $(abspath $(BUILD))/freshet_amd64.deb $(DEB_VERSION)
	@echo "  DEB      $(BUILD)/freshet_amd64.deb"
