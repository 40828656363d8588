# Where everything goes, `make install` and `make uninstall`; included by the Makefile.
#
# What the programs must know of these is compiled in (lib/conf/places.h, written below): give the
# same variables to `make` and `make install`; when they differ, install builds anew.

PREFIX        ?= /usr
SYSCONFDIR    ?= /etc
LOCALSTATEDIR ?= /var
DESTDIR       ?=
BINDIR        ?= $(PREFIX)/bin
SBINDIR       ?= $(PREFIX)/sbin
DAEMONDIR     ?= $(PREFIX)/lib/dakiya
SHAREDIR      ?= $(PREFIX)/share
CONFDIR       ?= $(SYSCONFDIR)/dakiya
QUEUEDIR      ?= $(LOCALSTATEDIR)/spool/dakiya
DATADIR       ?= $(LOCALSTATEDIR)/lib/dakiya
UNITDIR       ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR   ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR   ?= $(PREFIX)/lib/tmpfiles.d
DOCDIR        ?= $(SHAREDIR)/doc/dakiya

PLACES := $(OUT)/include/lib/conf/places.h

define places_text
/* places.h - where the suite is installed; made by scripts/install.mk. */
#ifndef DAKIYA_CONF_PLACES_H
#define DAKIYA_CONF_PLACES_H

#define PLACE_CONFIG   "$(CONFDIR)"
#define PLACE_QUEUE    "$(QUEUEDIR)"
#define PLACE_DATA     "$(DATADIR)"
#define PLACE_DAEMONS  "$(DAEMONDIR)"
#define PLACE_COMMANDS "$(SBINDIR)"

#endif
endef

# Touched only when something in it changes, so that nothing is built anew for nothing.
$(PLACES): places-are-current
	$(shell mkdir -p $(@D))$(file >$@.new,$(places_text))
	@cmp -s $@ $@.new && rm -f $@.new || mv -f $@.new $@

.PHONY: places-are-current install uninstall install-postfix-names uninstall-postfix-names

# A second name of a tool: name=tool. Only of tools that are there.
SENDMAIL_NAMES := mailq=$(if $(filter sendmail,$(TOOLS)),sendmail,dakqueue) newaliases=sendmail
POSTFIX_NAMES  := postfix=dakiya postconf=dakconf postmap=dakmap postalias=dakmap \
                  postqueue=dakqueue postsuper=dakqueue postcat=dakqueue qshape=dakqueue \
                  postlog=daklog
present = $(foreach n,$(1),$(if $(filter $(lastword $(subst =, ,$(n))),$(TOOLS)),$(n)))

MANUALS := $(wildcard docs/man/*.[158])
GUIDES  := README.md $(wildcard docs/*.md)
INSTALLED_MODULES = $(wildcard $(OUT)/lib/dakiya/*.so)
BASH_COMPLETIONS := $(wildcard conf/completion/*.bash)
ZSH_COMPLETIONS  := $(wildcard conf/completion/_*)
FISH_COMPLETIONS := $(wildcard conf/completion/*.fish)
# The page of a second name is the tool's, unless it has one of its own.
name_pages = $(foreach n,$(1),$(if $(wildcard docs/man/$(firstword $(subst =, ,$(n))).[18]),,$(foreach p,\
    $(wildcard docs/man/$(lastword $(subst =, ,$(n))).[18]),$(2)/man$(patsubst .%,%,$(suffix $(p)))/$(firstword $(subst =, ,$(n)))$(suffix $(p)):$(notdir $(p)))))
man_links = $(foreach l,$(call name_pages,$(1),$(D)$(SHAREDIR)/man),ln -sf $(lastword $(subst :, ,$(l))) $(firstword $(subst :, ,$(l)));)
INSTALL := install
D = $(DESTDIR)

# The shipped files name the standard places.
placed = sed -e 's|/usr/sbin/|$(SBINDIR)/|g' -e 's|/var/spool/dakiya|$(QUEUEDIR)|g' \
             -e 's|/var/lib/dakiya|$(DATADIR)|g' -e 's|/etc/dakiya|$(CONFDIR)|g'

# What an admin may have changed stays; the new one lies beside it as NAME.dist when it differs.
define install_conf
	@$(placed) conf/$(1) >$(D)$(SHAREDIR)/dakiya/$(1) && chmod 644 $(D)$(SHAREDIR)/dakiya/$(1)
	@new=$(D)$(SHAREDIR)/dakiya/$(1) old=$(D)$(CONFDIR)/$(1); \
	if [ ! -e $$old ]; then $(INSTALL) -m 644 $$new $$old; \
	elif cmp -s $$new $$old; then rm -f $$old.dist; \
	else $(INSTALL) -m 644 $$new $$old.dist; echo "  kept $$old; the new one is $$old.dist"; fi

endef

install: all ## install below DESTDIR; with install-postfix-names the Postfix names, too
	@$(INSTALL) -d $(D)$(BINDIR) $(D)$(SBINDIR) $(D)$(DAEMONDIR) $(D)$(CONFDIR) \
	    $(D)$(SHAREDIR)/dakiya $(D)$(DOCDIR) $(D)$(UNITDIR) $(D)$(SYSUSERSDIR) $(D)$(TMPFILESDIR) \
	    $(foreach s,1 5 8,$(D)$(SHAREDIR)/man/man$(s))
	@$(INSTALL) -m 755 $(DAEMON_BIN) $(D)$(DAEMONDIR)
	@$(INSTALL) -m 755 $(TOOL_BIN) $(D)$(SBINDIR)
	@$(if $(INSTALLED_MODULES),$(INSTALL) -m 644 $(INSTALLED_MODULES) $(D)$(DAEMONDIR))
	@$(foreach s,1 5 8,$(INSTALL) -m 644 $(filter %.$(s),$(MANUALS)) $(D)$(SHAREDIR)/man/man$(s);)
	@$(INSTALL) -m 644 $(GUIDES) $(D)$(DOCDIR)
	$(foreach f,main.cf master.cf aliases,$(call install_conf,$(f)))
	@$(placed) conf/dakiya.service >$(D)$(UNITDIR)/dakiya.service
	@$(placed) conf/dakiya.sysusers >$(D)$(SYSUSERSDIR)/dakiya.conf
	@$(placed) conf/dakiya.tmpfiles >$(D)$(TMPFILESDIR)/dakiya.conf
	@chmod 644 $(D)$(UNITDIR)/dakiya.service $(D)$(SYSUSERSDIR)/dakiya.conf $(D)$(TMPFILESDIR)/dakiya.conf
	@$(foreach f,$(BASH_COMPLETIONS),$(INSTALL) -D -m 644 $(f) $(D)$(COMPLETIONDIR)/$(basename $(notdir $(f)));)
	@$(call completion_links,$(filter-out dakiya,$(TOOLS)))
	@$(foreach f,$(ZSH_COMPLETIONS),$(INSTALL) -D -m 644 $(f) $(D)$(SHAREDIR)/zsh/vendor-completions/$(notdir $(f));)
	@$(foreach f,$(FISH_COMPLETIONS),$(INSTALL) -D -m 644 $(f) $(D)$(SHAREDIR)/fish/vendor_completions.d/$(notdir $(f));)
	@$(foreach n,$(call present,$(SENDMAIL_NAMES)),ln -sf $(SBINDIR)/$(lastword $(subst =, ,$(n))) $(D)$(BINDIR)/$(firstword $(subst =, ,$(n)));)
	@$(call man_links,$(call present,$(SENDMAIL_NAMES)))
	@echo "  installed to $(D)$(PREFIX); next: dakiya setup YOUR.DOMAIN (docs/first-domain.md)"

# bash looks for a file by the command's name; ours serves all tools.
COMPLETIONDIR = $(SHAREDIR)/bash-completion/completions
completion_links = $(if $(BASH_COMPLETIONS),$(foreach n,$(1),ln -sf dakiya $(D)$(COMPLETIONDIR)/$(n);))
names_of = $(foreach n,$(1),$(firstword $(subst =, ,$(n))))

install-postfix-names: ## install postconf, postmap and the others as second names of the tools
	@$(INSTALL) -d $(D)$(SBINDIR) $(D)$(SHAREDIR)/man/man1 $(D)$(SHAREDIR)/man/man8 $(if $(BASH_COMPLETIONS),$(D)$(COMPLETIONDIR))
	@$(call man_links,$(call present,$(POSTFIX_NAMES)))
	@$(call completion_links,$(call names_of,$(call present,$(POSTFIX_NAMES))))
	@$(foreach n,$(call present,$(POSTFIX_NAMES)),ln -sf $(lastword $(subst =, ,$(n))) $(D)$(SBINDIR)/$(firstword $(subst =, ,$(n)));)

# A link is removed only while it is ours.
unlinked_pages = $(foreach l,$(call name_pages,$(1),$(D)$(SHAREDIR)/man),$(call unlinked,$(firstword $(subst :, ,$(l))),$(lastword $(subst :, ,$(l)))))
unlinked = [ "$$(readlink $(1))" != "$(2)" ] || rm -f $(1);

uninstall-postfix-names:
	@$(call unlinked_pages,$(POSTFIX_NAMES))
	@$(foreach n,$(call names_of,$(POSTFIX_NAMES)),$(call unlinked,$(D)$(COMPLETIONDIR)/$(n),dakiya))
	@$(foreach n,$(POSTFIX_NAMES),$(call unlinked,$(D)$(SBINDIR)/$(firstword $(subst =, ,$(n))),$(lastword $(subst =, ,$(n)))))

uninstall: uninstall-postfix-names ## remove what install made; configuration, queue and mail stay
	@$(call unlinked_pages,$(SENDMAIL_NAMES))
	@$(foreach n,$(SENDMAIL_NAMES),$(call unlinked,$(D)$(BINDIR)/$(firstword $(subst =, ,$(n))),$(SBINDIR)/$(lastword $(subst =, ,$(n)))))
	@rm -f $(addprefix $(D)$(SBINDIR)/,$(TOOLS)) $(foreach m,$(MANUALS),$(D)$(SHAREDIR)/man/man$(patsubst .%,%,$(suffix $(m)))/$(notdir $(m)))
	@rm -f $(addprefix $(D)$(COMPLETIONDIR)/,$(basename $(notdir $(BASH_COMPLETIONS))) $(TOOLS)) \
	    $(addprefix $(D)$(SHAREDIR)/zsh/vendor-completions/,$(notdir $(ZSH_COMPLETIONS))) \
	    $(addprefix $(D)$(SHAREDIR)/fish/vendor_completions.d/,$(notdir $(FISH_COMPLETIONS)))
	@rm -f $(D)$(UNITDIR)/dakiya.service $(D)$(SYSUSERSDIR)/dakiya.conf $(D)$(TMPFILESDIR)/dakiya.conf $(D)$(CONFDIR)/*.dist
	@rm -rf $(D)$(DAEMONDIR) $(D)$(SHAREDIR)/dakiya $(D)$(DOCDIR)
	@echo "  $(D)$(CONFDIR), $(D)$(QUEUEDIR) and $(D)$(DATADIR) stay"
