/* test_conf_check.c - a corpus of broken configurations, each with what an admin is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "lib/conf/configuration.h"

/* Lines 1 to 8 of every main.cf here; line 9 is a test's first. */
#define BASE                                                                                       \
	"myhostname = mail.example.org\n"                                                          \
	"daemon_directory = libexec\n"                                                             \
	"mail_owner = 1:1\n"                                                                       \
	"net_owner = 2:1\n"                                                                        \
	"auth_owner = 3:1\n"                                                                       \
	"dns_owner = 4:1\n"                                                                        \
	"mydestination =\n"                                                                        \
	"mynetworks = 127.0.0.0/8\n"
#define SERVICES "2525 inet n - n - - smtpd\n" REST
#define REST                                                                                       \
	"smtp unix - - n - - smtp\n"                                                               \
	"qmgr unix - - n - 1 qmgr\n"                                                               \
	"resolver unix - - n - 1 resolver\n"                                                       \
	"bounce unix - - n - 2 bounce\n"

static void
write_file(const char *path, const char *first, const char *second)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(first, file);
	fputs(second, file);
	fclose(file);
}

static int
make_directory(void **state)
{
	static const char *const names[] = { "smtpd",    "smtp",   "qmgr", "pop3d",
		                             "resolver", "bounce", "pipe" };
	char                     path[] = "/tmp/test-conf-check-XXXXXX";

	(void)state;
	if (mkdtemp(path) == NULL || chdir(path) < 0 || mkdir("libexec", 0755) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char name[100];
		snprintf(name, sizeof(name), "libexec/%s", names[i]);
		if (symlink("/bin/true", name) < 0)
			return -1;
	}
	return 0;
}

static void
load(const char *main_text, const char *master_text, struct buf *out, size_t *error_count)
{
	struct configuration *configuration = calloc(1, sizeof(*configuration));
	struct report         report = REPORT_NONE;

	assert_non_null(configuration);
	write_file("main.cf", BASE, main_text);
	write_file("master.cf", master_text, "");
	bool is_ok = configuration_load(configuration, ".", &report);
	assert_true(is_ok == (report.error_count == 0));
	*error_count = report.error_count;
	report_append(&report, false, out);
	configuration_free(configuration);
	free(configuration);
	report_free(&report);
}

static void
each_mistake_is_told_with_place_and_suggestion(void **state)
{
	(void)state;
	static const struct {
		const char *main_text, *services, *expected;
	} cases[] = {
		{ "", SERVICES, "" },
		/* names */
		{ "relay_hots = x\n", SERVICES,
		  "./main.cf:9: error: relay_hots is no parameter; did you mean relayhost?\n" },
		{ "mydestinatoin = x\n", SERVICES,
		  "./main.cf:9: error: mydestinatoin is no parameter; did you mean "
		  "mydestination?\n" },
		{ "frobnicate = x\n", SERVICES,
		  "./main.cf:9: error: frobnicate is no parameter, and nothing uses "
		  "$frobnicate\n" },
		{ "mine = x\nrelayhost = $mine\n", SERVICES, "" },
		{ "relayhost = $mien\nmine = x\nmyorigin = $mine\n", SERVICES,
		  "./main.cf:9: error: relayhost uses $mien, which is defined nowhere; did you "
		  "mean mine?\n" },
		{ "relayhost = ${mine?{x}:{y}}\n", SERVICES, "" },
		{ "postscreen_greet_wait = 5s\n", SERVICES,
		  "./main.cf:9: warning: postscreen_greet_wait is a parameter of Postfix that is "
		  "not used here: there is no postscreen, smtpd takes connections itself\n" },
		{ "soft_bounce = no\npostscreen_greet_wait = 5s\n",
		  "2525 inet n - n - - smtpd\n -o postscreen_greet_wait=1s\n" REST,
		  "./main.cf:10: warning: postscreen_greet_wait is a parameter of Postfix that is "
		  "not used here: there is no postscreen, smtpd takes connections itself\n" },
		{ "debugger_command = gdb $daemon_directory/$program_x $home\n", SERVICES,
		  "./main.cf:9: warning: debugger_command is a parameter of Postfix that is not "
		  "used here: daemons are threads under one master, which has its own limits "
		  "(daemon_watchdog_timeout, drain_timeout)\n" },
		/* old names */
		{ "smtpd_enforce_tls = yes\nsmtpd_tls_chain_files = /dev/null\nsmtp_use_tls = no\n"
		  "virtual_maps = inline:{a@b.example=c}\nsmtp_enforce_tls = maybe\n",
		  SERVICES,
		  "./main.cf:9: warning: smtpd_enforce_tls is an old name: "
		  "smtpd_tls_security_level = encrypt is what it means now\n"
		  "./main.cf:11: warning: smtp_use_tls is an old name: smtp_tls_security_level = "
		  "none is what it means now\n"
		  "./main.cf:12: warning: virtual_maps is an old name: virtual_alias_maps = "
		  "inline:{a@b.example=c} is what it means now\n" },
		{ "smtpd_use_tls = yes\nsmtpd_tls_security_level = none\n", SERVICES,
		  "./main.cf:9: warning: smtpd_use_tls is an old name of smtpd_tls_security_level, "
		  "which is set, too: write only that\n" },
		{ "smtp_enforce_tls = yes\nsmtp_tls_enforce_peername = no\n", SERVICES,
		  "./main.cf:9: warning: smtp_enforce_tls is an old name: smtp_tls_security_level "
		  "= encrypt is what it means now\n" },
		/* per transport, lmtp */
		{ "dovecot_destination_recipient_limit = 1\n", SERVICES,
		  "./main.cf:9: warning: dovecot_destination_recipient_limit has no effect: "
		  "master.cf has no service \"dovecot\"\n" },
		{ "smtp_delivery_slot_cost = 3\n", SERVICES,
		  "./main.cf:9: warning: smtp_delivery_slot_cost is not used here: qmgr serves the "
		  "messages for a destination in turn, and bounds its memory itself\n" },
		{ "lmtp_connect_timeout = 3s\n", SERVICES,
		  "./main.cf:9: warning: lmtp_connect_timeout is a parameter of Postfix that is "
		  "not "
		  "used here: only a service lmtp uses it, and master.cf has none\n" },
		{ "lmtp_connect_timeout = 3s\nlmtp_lhlo_timeout = long\n",
		  SERVICES "lmtp unix - - n - - lmtp\n",
		  "./main.cf:10: error: lmtp_lhlo_timeout must be a time like 30s, 5m, 2h, 1d or "
		  "1w, not \"long\"\n" },
		{ "smtp_destination_rate_delay = 1s\n", SERVICES, "" },
		{ "smpt_destination_rate_delay = 1s\n", SERVICES,
		  "./main.cf:9: error: smpt_destination_rate_delay: master.cf has no service "
		  "\"smpt\"; did you mean smtp_destination_rate_delay?\n" },
		{ "slow_destination_rate_delay = 1s\n", SERVICES "slow unix - - n - - smtp\n", "" },
		{ "", "2525 inet n - n - - smtpd\n -o smtpd_baner=x\n" REST,
		  "./master.cf:1: error: smtpd_baner is no parameter; did you mean "
		  "smtpd_banner?\n" },
		{ "", "2525 inet n - n - - smtpd\n -o syslog_name=postfix/$service_name\n" REST,
		  "" },
		{ "", "2525 inet n - n - - smtpd -o smtpd_helo_restrictions=$mua_helo\n" REST,
		  "./master.cf:1: error: smtpd_helo_restrictions uses $mua_helo, which is defined "
		  "nowhere\n" },
		{ "",
		  "2525 inet n - n - - smtpd -o "
		  "smtpd_client_restrictions=$mua_client_restrictions\n" REST,
		  "./master.cf:1: warning: smtpd_client_restrictions uses "
		  "$mua_client_restrictions, which is not used here: it is empty\n" },
		/* types */
		{ "hopcount_limit = many\nsoft_bounce = si\nsmtp_quit_timeout = 1y\n", SERVICES,
		  "./main.cf:9: error: hopcount_limit must be a number, not \"many\"\n"
		  "./main.cf:10: error: soft_bounce must be yes or no, not \"si\"\n"
		  "./main.cf:11: error: smtp_quit_timeout must be a time like 30s, 5m, 2h, 1d or "
		  "1w, "
		  "not \"1y\"\n" },
		{ "mynetworks_style = hosts\n", SERVICES,
		  "./main.cf:9: error: mynetworks_style must be one of: host subnet class; not "
		  "\"hosts\"\n" },
		{ "smtp_tls_security_level =\nlmtp_tls_security_level =\n", SERVICES, "" },
		{ "a = $b\nb = $a\nrelayhost = $b\n", SERVICES,
		  "./main.cf:9: error: a: a is defined by itself through $b\n"
		  "./main.cf:10: error: b: b is defined by itself through $a\n"
		  "./main.cf:11: error: relayhost is wrong: b is defined by itself through $a\n" },
		{ "", "2525 inet n - n - - smtpd -o smtpd_timeout=long\n" REST,
		  "./master.cf:1: error: smtpd_timeout must be a time like 30s, 5m, 2h, 1d or 1w, "
		  "not \"long\"\n" },
		{ "canonical_classes = envelope_sender, header_recipients\n"
		  "masquerade_classes =\nreceive_override_options = no_address_mappings nothing\n",
		  SERVICES,
		  "./main.cf:9: error: canonical_classes: unknown word \"header_recipients\"; did "
		  "you "
		  "mean header_recipient?\n"
		  "./main.cf:11: error: receive_override_options: unknown word \"nothing\"; there "
		  "are: no_unknown_recipient_checks no_address_mappings no_header_body_checks "
		  "no_milters\n" },
		{ "", "2525 inet n - n - - smtpd\n -o receive_override_options=no_milter\n" REST,
		  "./master.cf:1: error: receive_override_options: unknown word \"no_milter\"; did "
		  "you mean no_milters?\n" },
		{ "hopcount_limit = ${stress?{x}:{50}}\n", SERVICES,
		  "./main.cf: error: hopcount_limit (under stress) must be a number, not \"x\"\n" },
		/* restrictions */
		{ "smtpd_recipient_restrictions = reject_unauth_destinatoin\n", SERVICES,
		  "./main.cf:9: error: smtpd_recipient_restrictions: reject_unauth_destinatoin is "
		  "no restriction; did you mean reject_unauth_destination?\n" },
		{ "smtpd_client_restrictions = check_client_access permit\n", SERVICES,
		  "./main.cf:9: error: smtpd_client_restrictions: check_client_access needs a "
		  "type:table behind it\n" },
		{ "smtpd_client_restrictions = reject_rbl_client\n", SERVICES,
		  "./main.cf:9: error: smtpd_client_restrictions: reject_rbl_client needs a domain "
		  "behind it\n" },
		{ "smtpd_restriction_classes = strict, lost\nstrict = reject_non_fqdn_sendr\n"
		  "smtpd_sender_restrictions = strict inline:{a=reject} warn_if_reject reject\n",
		  SERVICES,
		  "./main.cf:10: error: strict: reject_non_fqdn_sendr is no restriction; did you "
		  "mean reject_non_fqdn_sender?\n"
		  "./main.cf:9: error: restriction class lost is not defined: lost = ...\n" },
		/* relaying */
		{ "smtpd_relay_restrictions = permit_mynetworks\n", SERVICES,
		  "./master.cf:1: error: service 2525 would relay for strangers: "
		  "smtpd_relay_restrictions refuses nobody, smtpd_recipient_restrictions is empty; "
		  "in one of these lists, in front of what permits, must stand "
		  "reject_unauth_destination, defer_unauth_destination, reject or defer\n" },
		{ "smtpd_relay_restrictions = permit, reject\n"
		  "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n",
		  SERVICES, "" },
		{ "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = own\n"
		  "smtpd_restriction_classes = own\nown = permit_mynetworks, reject\n",
		  SERVICES, "" },
		{ "mynetworks = 127.0.0.0/8 [::]/0 8.0.0.0/5 !0.0.0.0/0\n", SERVICES,
		  "./main.cf:9: warning: overriding earlier entry: mynetworks = 127.0.0.0/8 (line "
		  "8)\n"
		  "./master.cf:1: error: service 2525 would relay for strangers: "
		  "smtpd_relay_restrictions ends at permit_mynetworks, for mynetworks has [::]/0, "
		  "smtpd_recipient_restrictions is empty; in one of these lists, in front of what "
		  "permits, must stand reject_unauth_destination, defer_unauth_destination, reject "
		  "or defer\n"
		  "./main.cf:9: error: mynetworks: [::]/0 is the whole Internet: everybody could "
		  "relay\n"
		  "./main.cf:9: warning: mynetworks: 8.0.0.0/5 is very large: all in it may "
		  "relay\n" },
		/* rules */
		{ "mydestination = example.org\nvirtual_mailbox_domains = Example.org\n", SERVICES,
		  "./main.cf:9: warning: overriding earlier entry: mydestination =  (line 7)\n"
		  "./main.cf:9: warning: mydestination: mail for these domains waits, since "
		  "master.cf has no service local: add \"local unix - n n - - local\", or leave "
		  "mydestination empty\n"
		  "./main.cf:10: error: Example.org is in mydestination (line 9) and in "
		  "virtual_mailbox_domains: a domain belongs to one class only; take it out of "
		  "one, or it would count for mydestination\n" },
		{ "virtual_mailbox_lock = fcntl lockf\n", SERVICES,
		  "./main.cf:9: error: virtual_mailbox_lock: \"lockf\" is none of fcntl, flock, "
		  "dotlock\n" },
		{ "", SERVICES "list unix - n n - - pipe flags=RY argv=x ${recipent}\n",
		  "./master.cf:6: error: pipe: flags=: there is no flag \"Y\"; B D F O R X h q u "
		  ". > are\n"
		  "./master.cf:6: error: pipe: argv=: there is no ${recipent}, did you mean "
		  "${recipient}; a $ itself is $$\n"
		  "./master.cf:6: error: pipe: user= is missing: who the command runs as\n" },
		{ "", SERVICES "error unix - - n - - error\nretry unix - - n - - error\n", "" },
		{ "", SERVICES "hole unix - - n - - discard\n",
		  "./master.cf:6: warning: service hole (discard) is not run, and mail for the "
		  "transport hole: would wait: name discard: in tables instead\n" },
		{ "virtual_mailbox_lock =\n", SERVICES,
		  "./main.cf:9: error: virtual_mailbox_lock is empty: two deliveries at once "
		  "would mix their lines; the default is fcntl, dotlock\n" },
		{ "message_size_limit = 100000000\n", SERVICES,
		  "./main.cf:9: warning: message_size_limit (100000000) is larger than "
		  "virtual_mailbox_limit (51200000): a message between them is accepted and then "
		  "bounced\n" },
		{ "mydestination = a.example\nlocal_recipient_maps = inline:{ x=y }\n"
		  "virtual_mailbox_limit = 0\nmessage_size_limit = 60000000\n",
		  SERVICES,
		  "./main.cf:9: warning: overriding earlier entry: mydestination =  (line 7)\n"
		  "./main.cf:9: warning: mydestination: mail for these domains waits, since "
		  "master.cf has no service local: add \"local unix - n n - - local\", or leave "
		  "mydestination empty\n"
		  "./main.cf:12: warning: message_size_limit (60000000) is larger than "
		  "mailbox_size_limit (51200000): a message between them is accepted and then "
		  "bounced\n" },
		{ "mailbox_delivery_lock = lockf\n", SERVICES,
		  "./main.cf:9: error: mailbox_delivery_lock: \"lockf\" is none of fcntl, flock, "
		  "dotlock\n" },
		{ "smtpd_sasl_auth_enable = yes\n", SERVICES,
		  "./master.cf: error: daemon libexec/authd: No such file or directory\n"
		  "./master.cf:1: warning: service 2525 takes passwords without TLS: "
		  "smtpd_tls_auth_only = yes\n" },
		{ "smtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = yes\n",
		  "smtp inet n - n - - smtpd\n" REST,
		  "./master.cf: error: daemon libexec/authd: No such file or directory\n"
		  "./master.cf:1: warning: service smtp offers logins on port 25, where only "
		  "servers call: use submission and submissions\n" },
		{ "relay_domains = a.example\nrelay_recipient_maps =\n", SERVICES,
		  "./main.cf:10: warning: relay_recipient_maps is empty: mail to unknown users in "
		  "relay_domains is accepted and bounced to forged senders\n" },
		{ "net_owner = 0:0\n", SERVICES,
		  "./main.cf:9: warning: overriding earlier entry: net_owner = 2:1 (line 4)\n"
		  "./main.cf:9: error: net_owner must not be root: the daemons give their rights "
		  "away by it\n" },
		{ "", SERVICES "2110 inet n - n - - lmtp\nauthd unix - - n - - authd\n",
		  "./master.cf:6: error: lmtp must be of type unix\n"
		  "./master.cf:7: error: daemon libexec/authd: No such file or directory\n" },
		{ "smtpd_helo_restrictions = reject_invalid_helo_hostname\n", SERVICES,
		  "./main.cf:9: warning: smtpd_helo_restrictions have no effect on clients that "
		  "leave out HELO: smtpd_helo_required = yes\n" },
		{ "smtpd_tls_chain_files = /nonexistent/key\n", SERVICES,
		  "./main.cf:9: error: smtpd_tls_chain_files: /nonexistent/key: No such file or "
		  "directory\n" },
		{ "", "2110 inet n - n - - pop3d\n" REST,
		  /* authd is run without a line */
		  "./master.cf: error: daemon libexec/authd: No such file or directory\n" },
		{ "", "2465 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n" REST,
		  "./master.cf:1: error: service 2465 needs a certificate for TLS. Put key and "
		  "certificate into main.cf: smtpd_tls_chain_files = ./host.key, ./host.pem and "
		  "smtpd_tls_security_level = may. To begin with, make them yourself: openssl req "
		  "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "
		  "/CN=mail.example.org -addext subjectAltName=DNS:mail.example.org -keyout "
		  "./host.key -out ./host.pem\n" },
		{ "daemon_directory = /nonexistent\n", SERVICES,
		  "./main.cf:9: warning: overriding earlier entry: daemon_directory = libexec "
		  "(line 2)\n"
		  "./main.cf:9: error: daemon_directory /nonexistent: No such file or directory: "
		  "set daemon_directory to where smtpd, qmgr and the other daemons are\n" },
		{ "virtual_mailbox_maps = static:x/\nvirtual_mailbox_base = /nonexistent\n"
		  "virtual_uid_maps = static:5000\n",
		  SERVICES,
		  "./main.cf:10: warning: virtual_mailbox_base /nonexistent does not exist: "
		  "install -d -o 5000 /nonexistent\n" },
		{ "transport_maps = hash:/nonexistent/x\n", SERVICES,
		  "./main.cf:9: warning: transport_maps: table /nonexistent/x.db does not exist, "
		  "nor does its source: write it, then dakmap hash:/nonexistent/x\n" },
		{ "smtpd_upstream_proxy_protocol = haproxy\nheader_checks =\n", SERVICES,
		  "./main.cf:9: error: smtpd_upstream_proxy_protocol is not there yet: every "
		  "client "
		  "would look like the proxy, and be trusted like it; take it out to do "
		  "without\n" },
		{ "virtual_transport = dovecot\n", SERVICES "dovecot unix - n n - - qmqpd\n",
		  "./master.cf:6: warning: qmqpd is not used here: QMQP is not spoken\n"
		  "./main.cf:9: error: virtual_transport: service dovecot (line 6 of master.cf) is "
		  "not run: QMQP is not spoken\n" },
		{ "default_transport = slow:\n", SERVICES,
		  "./main.cf:9: error: default_transport: there is no service \"slow\" in "
		  "master.cf\n" },
		{ "local_transport = error:no mail here\n", SERVICES, "" },
		/* tables */
		{ "transport_maps = hahs:/etc/x\n", SERVICES,
		  "./main.cf:9: error: transport_maps: \"hahs\" is no type of table; did you mean "
		  "hash?\n" },
		{ "transport_maps = nis:x\n", SERVICES,
		  "./main.cf:9: error: transport_maps: tables of type nis are not supported "
		  "(`dakmap "
		  "-m` lists those that are)\n" },
		{ "transport_maps = proxy:mysql:/nonexistent/x.cf\n", SERVICES,
		  "./main.cf:9: warning: transport_maps: table mysql:/nonexistent/x.cf: no such "
		  "file\n" },
		{ "transport_maps = debug:lmdb:/nonexistent/x\n", SERVICES,
		  "./main.cf:9: warning: transport_maps: table /nonexistent/x.lmdb does not exist, "
		  "nor does its source: write it, then dakmap lmdb:/nonexistent/x\n" },
		{ "transport_maps = cidr:/nonexistent/x\n", SERVICES,
		  "./main.cf:9: warning: transport_maps: table cidr:/nonexistent/x: no such "
		  "file\n" },
		{ "transport_maps = inline:{ { a = hash:b } }\n", SERVICES, "" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF(100000);
		size_t     error_count;

		if (geteuid() != 0 && strstr(cases[i].main_text, "net_owner") != NULL)
			continue; /* owners matter to root only */
		load(cases[i].main_text, cases[i].services, &out, &error_count);
		assert_string_equal(buf_text(&out), cases[i].expected);
		buf_free(&out);
	}
}

static void
missing_files_are_one_error_each(void **state)
{
	(void)state;
	struct configuration *configuration = calloc(1, sizeof(*configuration));
	struct report         report = REPORT_NONE;

	assert_non_null(configuration);
	assert_false(configuration_load(configuration, "/nonexistent", &report));
	assert_int_equal(report.error_count, 2);
	assert_string_equal(report.list.items[0].file, "/nonexistent/main.cf");
	assert_string_equal(report.list.items[0].text, "open: No such file or directory");
	configuration_free(configuration);
	free(configuration);
	report_free(&report);
}

static void
an_index_older_than_its_table_is_named(void **state)
{
	(void)state;
	struct timespec times[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct buf      out = BUF(10000), text = BUF(1000), expected = BUF(1000);
	char            here[500];
	size_t          error_count;

	assert_non_null(getcwd(here, sizeof(here)));
	write_file("table", "a b\n", "");
	write_file("table.db", "", "");
	assert_int_equal(utimensat(-100, "table.db", times, 0), 0);
	buf_append_format(&text, "transport_maps = hash:%s/table\n", here);
	load(buf_text(&text), SERVICES, &out, &error_count);
	buf_append_format(&expected,
	                  "./main.cf:9: warning: transport_maps: %s/table is newer than its "
	                  "table: dakmap hash:%s/table\n",
	                  here, here);
	assert_string_equal(buf_text(&out), buf_text(&expected));
	buf_free(&out);
	buf_free(&text);
	buf_free(&expected);
}

/* A service lmtp sees lmtp_X as smtp_X; others do not. */
static void
lmtp_names_are_for_lmtp_services(void **state)
{
	struct configuration *configuration = configuration_create();
	struct report         report = REPORT_NONE;

	(void)state;
	write_file("main.cf", BASE,
	           "lmtp_connect_timeout = 3s\nsmtp_quit_timeout = 5s\n"
	           "lmtp_lhlo_timeout = 7s\nlmtp_tls_security_level = may\n");
	write_file("master.cf", SERVICES, "lmtp unix - - n - - lmtp -o lmtp_quit_timeout=9s\n");
	assert_true(configuration_load(configuration, ".", &report));
	for (size_t i = 0; i < configuration->master.services.count; i++) {
		const struct service *service = &configuration->master.services.items[i];
		struct values         values = VALUES_NONE;
		bool                  is_lmtp = strcmp(service->program->name, "lmtp") == 0;

		assert_true(configuration_service_values(configuration, service, &values));
		const struct conf_value *connect =
			values_get(&values, SLICE("smtp_connect_timeout"));
		const struct conf_value *quit = values_get(&values, SLICE("smtp_quit_timeout"));
		const struct conf_value *helo = values_get(&values, SLICE("smtp_helo_timeout"));
		/* Has a row of its own. */
		assert_null(values_get(&values, SLICE("smtp_tls_security_level")));
		if (is_lmtp) {
			assert_string_equal(connect->text, "3s");
			assert_string_equal(quit->text, "9s");
			assert_string_equal(helo->text, "7s");
		} else {
			assert_null(connect);
			assert_string_equal(quit->text, "5s");
			assert_null(helo);
		}
		values_free(&values);
	}
	report_free(&report);
	configuration_destroy(&configuration);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lmtp_names_are_for_lmtp_services),
		cmocka_unit_test(each_mistake_is_told_with_place_and_suggestion),
		cmocka_unit_test(missing_files_are_one_error_each),
		cmocka_unit_test(an_index_older_than_its_table_is_named),
	};
	return cmocka_run_group_tests(tests, make_directory, NULL);
}
