# Dakiya. `make help` lists what there is to make.

SANITIZE ?=
OUT      ?= build$(if $(SANITIZE),-$(SANITIZE))
CC       ?= gcc
PYTHON   ?= /usr/bin/python3
V        ?=
Q        := $(if $(V),,@)
comma     := ,
say       = $(if $(V),@:,@echo '  $(1)  $(2)')

CPPFLAGS += -I. -I$(OUT)/include -D_GNU_SOURCE
WARN     := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wframe-larger-than=8192 -Werror
CFLAGS   ?= -O2 -g
CFLAGS   += -std=gnu17 $(WARN) -fPIE -fstack-protector-strong -pthread
LDFLAGS  += -pie -pthread -Wl,-z,relro,-z,now
LIBS     := -Wl,--as-needed -lssl -lcrypto -lsasl2 -ldb -lunbound -lseccomp -lpcre2-8 -lidn2 -lpsl -lcrypt -llmdb -lcdb -lm

ifeq ($(SANITIZE),address)
CFLAGS  += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
else ifeq ($(SANITIZE),thread)
CFLAGS  += -fsanitize=thread
LDFLAGS += -fsanitize=thread
else ifeq ($(SANITIZE),fuzz)
CFLAGS  += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
           -fno-sanitize=function -Wno-gnu-folding-constant -Wno-unknown-warning-option
LDFLAGS += -fsanitize=address,undefined
else
CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
endif

DAEMONS := master smtpd qmgr smtp local bounce pickup pipe spawn authd pop3d resolver verify
DAEMONS := $(foreach d,$(DAEMONS),$(if $(wildcard $(d)/main.c),$(d)))
TOOLS   := $(notdir $(patsubst %/,%,$(dir $(wildcard tools/*/main.c))))

# The Postfix names of programs: NAME=PROGRAM; links in $(OUT)/bin and where they are installed.
NAMES := postconf=dakconf postmap=dakmap postalias=dakmap newaliases=dakmap postqueue=dakqueue \
         postsuper=dakqueue postcat=dakqueue mailq=dakqueue qshape=dakqueue postlog=daklog postfix=dakiya
NAMES := $(foreach n,$(NAMES),$(if $(filter $(lastword $(subst =, ,$(n))),$(TOOLS)),$(n)))

LIB_SRC := $(sort $(wildcard lib/*/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(OUT)/%.o)
LIB     := $(OUT)/libdakiya.a

DAEMON_BIN := $(DAEMONS:%=$(OUT)/libexec/%)
TOOL_BIN   := $(TOOLS:%=$(OUT)/bin/%)
NAME_LINKS := $(foreach n,$(NAMES),$(OUT)/bin/$(firstword $(subst =, ,$(n))))
CRASH_BIN  := $(DAEMONS:%=$(OUT)/crash/%)
UNIT_SRC   := $(sort $(wildcard tests/unit/test_*.c))
FUZZ_SRC   := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN   := $(FUZZ_SRC:tests/fuzz/%.c=$(OUT)/fuzz/%)
BENCH_BIN  := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(sort $(wildcard tests/bench/*.c)))
UNIT_BIN   := $(UNIT_SRC:tests/unit/%.c=$(OUT)/tests/%)

# Tables whose client library is large: a shared object each, made where the library is there. They
# link what they use of lib/ a second time, as -fPIC, and need nothing of the program.
MODULE_LIBRARY := pgsql=libpq mysql=libmariadb ldap=ldap redis=hiredis sqlite=sqlite3
MODULES    := $(foreach m,$(MODULE_LIBRARY),$(if $(shell command -v pkg-config >/dev/null && pkg-config --exists $(lastword $(subst =, ,$(m))) && echo yes),$(m)))
MODULE_BIN := $(foreach m,$(MODULES),$(OUT)/lib/dakiya/table_$(firstword $(subst =, ,$(m))).so)
MODULE_LIB := $(patsubst %,$(OUT)/pic/lib/%.o,base/arena base/array base/buf base/clock base/error \
              base/number base/slice io/endpoint table/connect)

.DEFAULT_GOAL := all
include scripts/install.mk

.PHONY: all help deb check crash crash-targets fuzz-targets unit integration demo deps lint fuzz bench clean format manual
.SECONDARY:

all: $(DAEMON_BIN) $(TOOL_BIN) $(MODULE_BIN) $(NAME_LINKS) ## build everything (default)

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14
	@echo 'variables:  SANITIZE=address|thread  OUT=DIR  CC=COMPILER  KEEP=1 (demo)  V=1 (whole commands)'
	@echo '            PREFIX=/usr  SYSCONFDIR=/etc  LOCALSTATEDIR=/var  DESTDIR=  (install)'

$(OUT)/%.o: %.c | $(PLACES)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

# Arguments: the program, the directory of its sources, more words for the linker.
define program
$(OUT)/$(1): $(patsubst %.c,$(OUT)/%.o,$(sort $(wildcard $(2)/*.c))) $(LIB)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) -o $$@ $$(filter-out $(LIB) %.so,$$^) $(LIB) $(3) $$(LIBS)
endef
$(foreach d,$(DAEMONS),$(eval $(call program,libexec/$(d),$(d))))
$(foreach t,$(TOOLS),$(eval $(call program,bin/$(t),tools/$(t))))

$(OUT)/pic/%.o: %.c | $(PLACES)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -fvisibility=hidden $(MODULE_FLAGS) -MMD -MP -c -o $@ $<

define module
$(OUT)/pic/lib/table/modules/$(1).o: MODULE_FLAGS := $$(shell pkg-config --cflags $(2))
$(OUT)/lib/dakiya/table_$(1).so: $(OUT)/pic/lib/table/modules/$(1).o $(MODULE_LIB)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(CFLAGS) -shared $$(filter-out -pie,$$(LDFLAGS)) -o $$@ $$^ $$(shell pkg-config --libs $(2))
endef
$(foreach m,$(MODULES),$(eval $(call module,$(firstword $(subst =, ,$(m))),$(lastword $(subst =, ,$(m))))))

define name_link
$(OUT)/bin/$(firstword $(subst =, ,$(1))): $(OUT)/bin/$(lastword $(subst =, ,$(1)))
	$$(Q)ln -sfn $$(<F) $$@
endef
$(foreach n,$(NAMES),$(eval $(call name_link,$(n))))

# The shipped files are inside dakiya, for `dakiya setup`.
$(OUT)/tools/dakiya/setup_templates.o: conf/main.cf conf/master.cf

# Daemons whose calls fail when a test says so: tests/crash/faults.c comes before the C library.
FAULTS := $(OUT)/crash/libfaults.so
$(FAULTS): tests/crash/faults.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -U_FORTIFY_SOURCE -shared -Wl,-soname,libfaults.so -o $@ $<
$(CRASH_BIN): $(FAULTS)
$(foreach d,$(DAEMONS),$(eval $(call program,crash/$(d),$(d),-Wl$(comma)--no-as-needed $(FAULTS) -Wl$(comma)-rpath$(comma)'$$$$ORIGIN')))
crash-targets: $(CRASH_BIN) $(OUT)/bench/queue-fill

# A test links the rooms' objects that it names in a line `/* links: smtpd/session.c ... */`.
linked = $(shell sed -n 's|^/\* links: \(.*\) \*/|\1|p' $(1))
define test_program
$(OUT)/$(1): $(patsubst %.c,$(OUT)/%.o,$(2) $(call linked,$(2))) $(LIB)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) -o $$@ $$(filter-out $(LIB),$$^) $(LIB) $(3) $$(LIBS)
endef
$(foreach t,$(UNIT_SRC),$(eval $(call test_program,tests/$(basename $(notdir $(t))),$(t),-lcmocka)))
$(foreach t,$(FUZZ_SRC),$(eval $(call test_program,fuzz/$(basename $(notdir $(t))),$(t),-fsanitize=fuzzer)))
fuzz-targets: $(FUZZ_BIN)

$(OUT)/bench/%: tests/bench/%.c $(LIB) | $(PLACES)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -Wframe-larger-than=200000 $(LDFLAGS) -o $@ $< $(LIB) $(LIBS)

unit: $(UNIT_BIN) $(MODULE_BIN) ## unit tests
	@scripts/run-unit $(UNIT_BIN)

integration: all ## integration tests with real clients
	$(PYTHON) -m pytest -q tests/integration

check: ## every test; closes with `N passed, N failed`
	scripts/check

crash: all crash-targets ## power cuts, kills, full disks, failing calls: long (CRASH=short: as in check)
	scripts/crash

demo: ## two complete mail hosts on high ports, real mail, shown step by step
	scripts/demo

deps: ## install the Debian packages that are missing
	scripts/install-deps

lint: ## layers, writable globals, forbidden calls, formatting
	scripts/lint

fuzz: ## run each fuzz target briefly on its stored corpus
	scripts/fuzz

bench: all $(BENCH_BIN) ## benchmarks; ratios against Postfix and Dovecot where they are
	tests/bench/run

manual: $(OUT)/bin/dakconf ## rewrite docs/man/main.cf.5 from the parameter table
	$(OUT)/bin/dakconf --mdoc >docs/man/main.cf.5

format: ## rewrite the C files as .clang-format says
	clang-format -i $$(git ls-files '*.c' '*.h')

deb: ## Debian packages, beside this directory's build: build/deb/*.deb
	scripts/make-deb $(OUT)/deb

clean: ## remove what was built
	rm -rf build build-address build-thread build-fuzz build-packages

-include $(shell find $(OUT) -name '*.d' -type f 2>/dev/null)
