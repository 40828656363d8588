/* test_conf_relay.c - which stranger could relay through which list (FACTS C3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/conf/check_relay.h"

#define STOP "defer_unauth_destination"

/* A table in a file, as dakiya reads it. */
static bool
each_entry(void *context, struct slice                                               spec,
           void (*visit)(void *visitor, struct slice key, struct slice value), void *visitor)
{
	(void)context;
	if (!slice_equal(spec, SLICE("hash:/senders")))
		return false;
	visit(visitor, SLICE("spam.example"), SLICE("REJECT"));
	visit(visitor, SLICE("friend@good.example"), SLICE("OK"));
	return true;
}

static enum relay_domain
look_up_domain(void *context, struct slice domain)
{
	(void)context;
	return slice_ends_with(domain, SLICE(".net"))   ? RELAY_DOMAIN_RELAYED
	       : slice_ends_with(domain, SLICE(".org")) ? RELAY_DOMAIN_HOSTED
	                                                : RELAY_DOMAIN_FOREIGN;
}

static void
each_list_is_followed_to_its_end(void **state)
{
	(void)state;
	static const struct {
		const char        *main_text;
		enum relay_verdict verdict;
		const char        *told;
	} cases[] = {
		/* safe */
		{ "", RELAY_NONE, "smtpd_relay_restrictions: " STOP },
		{ "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks,"
		  "reject_unauth_destination, permit\n",
		  RELAY_NONE, "smtpd_recipient_restrictions: reject_unauth_destination" },
		{ "smtpd_relay_restrictions = permit\n"
		  "smtpd_client_restrictions = permit_sasl_authenticated,reject\n",
		  RELAY_NONE, "smtpd_client_restrictions: reject" },
		{ "smtpd_relay_restrictions = own\nsmtpd_restriction_classes = own\n"
		  "own = permit_mynetworks, reject\n",
		  RELAY_NONE, "smtpd_relay_restrictions: reject (class own)" },
		{ "smtpd_relay_restrictions = check_client_access static:REJECT permit\n",
		  RELAY_NONE, "smtpd_relay_restrictions: check_client_access static:REJECT" },
		{ "smtpd_relay_restrictions = check_sasl_access static:OK, reject\n", RELAY_NONE,
		  "smtpd_relay_restrictions: reject" },
		{ "smtpd_relay_restrictions = permit_dnswl_client list.example " STOP "\n",
		  RELAY_NONE, "smtpd_relay_restrictions: " STOP },
		{ "smtpd_relay_restrictions = check_sender_access "
		  "inline:{a.example=DUNNO, { b.example = 550 no }} " STOP "\n",
		  RELAY_NONE, "smtpd_relay_restrictions: " STOP },
		{ "mydestination = own.example\nsmtpd_relay_restrictions = check_recipient_access "
		  "inline:{own.example=OK, postmaster@own.example=OK} " STOP "\n",
		  RELAY_NONE, "smtpd_relay_restrictions: " STOP },
		{ "smtpd_relay_restrictions = permit_tls_all_clientcerts " STOP "\n", RELAY_NONE,
		  "smtpd_relay_restrictions: " STOP },
		{ "permit_mx_backup_networks = 192.0.2.0/24\n"
		  "smtpd_relay_restrictions = permit_mx_backup, " STOP "\n",
		  RELAY_NONE, "smtpd_relay_restrictions: " STOP },
		{ "smtpd_relay_restrictions = check_relay_domains\n", RELAY_NONE,
		  "smtpd_relay_restrictions: reject_unauth_destination" },
		/* each stranger */
		{ "smtpd_relay_restrictions =\n", RELAY_ALL,
		  "smtpd_relay_restrictions is empty, smtpd_recipient_restrictions is empty" },
		{ "smtpd_relay_restrictions = permit_mynetworks, permit, " STOP "\n", RELAY_ALL,
		  "smtpd_relay_restrictions ends at permit, smtpd_recipient_restrictions is "
		  "empty" },
		{ "smtpd_relay_restrictions = warn_if_reject " STOP "\n", RELAY_ALL,
		  "smtpd_relay_restrictions refuses nobody, smtpd_recipient_restrictions is "
		  "empty" },
		{ "mynetworks = 10.0.0.0/8 0.0.0.0/0\n", RELAY_ALL,
		  "smtpd_relay_restrictions ends at permit_mynetworks, for mynetworks has "
		  "0.0.0.0/0, smtpd_recipient_restrictions is empty" },
		{ "relay_domains = static:all\n", RELAY_ALL,
		  "smtpd_relay_restrictions refuses nobody: " STOP " takes every domain for ours: "
		  "relay_domains has static:all, smtpd_recipient_restrictions is empty" },
		/* What is delivered here is not relayed. */
		{ "virtual_mailbox_domains = static:all\n", RELAY_NONE,
		  "smtpd_relay_restrictions: " STOP },
		{ "smtpd_relay_restrictions = check_sender_access inline:{me.example=OK} " STOP
		  "\n",
		  RELAY_ALL,
		  "smtpd_relay_restrictions ends at check_sender_access, which permits whoever "
		  "claims me.example in inline:{me.example=OK}, smtpd_recipient_restrictions is "
		  "empty" },
		{ "smtpd_relay_restrictions = check_helo_access inline:{x=permit} " STOP "\n",
		  RELAY_ALL,
		  "smtpd_relay_restrictions ends at check_helo_access, which permits whoever "
		  "claims x in inline:{x=permit}, smtpd_recipient_restrictions is empty" },
		{ "smtpd_relay_restrictions = check_client_access static:OK " STOP "\n", RELAY_ALL,
		  "smtpd_relay_restrictions ends at check_client_access static:OK, which permits "
		  "everybody, smtpd_recipient_restrictions is empty" },
		{ "smtpd_relay_restrictions = own " STOP "\nsmtpd_restriction_classes = own\n"
		  "own = permit\n",
		  RELAY_ALL,
		  "smtpd_relay_restrictions ends at permit (class own), "
		  "smtpd_recipient_restrictions is empty" },
		{ "smtpd_relay_restrictions = check_sender_access hash:/senders " STOP "\n",
		  RELAY_ALL,
		  "smtpd_relay_restrictions ends at check_sender_access, which permits whoever "
		  "claims friend@good.example in hash:/senders, smtpd_recipient_restrictions is "
		  "empty" },
		/* some */
		{ "smtpd_relay_restrictions = check_client_access inline:{192.0.2.1=OK, "
		  "192.0.2.2=REJECT} " STOP "\n",
		  RELAY_SOME,
		  "smtpd_relay_restrictions: the client 192.0.2.1 in inline:{192.0.2.1=OK, "
		  "192.0.2.2=REJECT}" },
		{ "smtpd_relay_restrictions = inline:{abuse@=OK} " STOP "\n", RELAY_SOME,
		  "smtpd_relay_restrictions: everybody to the recipient abuse@ in "
		  "inline:{abuse@=OK}" },
		{ "smtpd_relay_restrictions = permit_tls_all_clientcerts " STOP
		  "\nsmtpd_tls_ask_ccert = yes\n",
		  RELAY_SOME,
		  "smtpd_relay_restrictions: permit_tls_all_clientcerts admits whoever has a "
		  "certificate from an authority in smtpd_tls_CAfile or smtpd_tls_CApath" },
		{ "smtpd_relay_restrictions = permit_mx_backup, " STOP "\n", RELAY_SOME,
		  "smtpd_relay_restrictions: permit_mx_backup admits mail for every domain that "
		  "names this host among its mail exchangers; permit_mx_backup_networks says whose "
		  "domains are meant" },
		{ "smtpd_relay_restrictions = check_policy_service unix:private/policy, " STOP "\n",
		  RELAY_SOME,
		  "smtpd_relay_restrictions: whoever the policy service unix:private/policy "
		  "permits" },
		/* One list admits some, the other nobody. */
		{ "smtpd_relay_restrictions = check_client_access inline:{192.0.2.1=OK} " STOP
		  "\nsmtpd_recipient_restrictions = reject_unauth_destination\n",
		  RELAY_NONE, "smtpd_recipient_restrictions: reject_unauth_destination" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static const struct relay_reader reader = { each_entry, look_up_domain, NULL };
		struct values                    values = VALUES_NONE;
		struct settings                  settings;
		struct error                     error = ERROR_NONE;
		struct buf                       text = BUF(10000);
		/* look_up_domain would let some through everywhere: only where a file is read. */
		const struct relay_reader *used =
			strstr(cases[i].main_text, "hash:") != NULL ? &reader : NULL;

		assert_true(values_from_text(&values, cases[i].main_text, &error));
		assert_true(settings_init(&settings, &values, NULL));
		enum relay_verdict verdict = relay_evaluate(&settings, used, &text);
		assert_string_equal(buf_text(&text), cases[i].told);
		assert_int_equal(verdict, cases[i].verdict);
		buf_free(&text);
		settings_free(&settings);
		values_free(&values);
	}
}

static void
domains_that_only_a_table_knows_count(void **state)
{
	(void)state;
	static const struct relay_reader reader = { each_entry, look_up_domain, NULL };
	struct values                    values = VALUES_NONE;
	struct settings                  settings;
	struct buf                       text = BUF(10000);

	assert_true(settings_init(&settings, &values, NULL));
	assert_int_equal(relay_evaluate(&settings, &reader, &text), RELAY_SOME);
	assert_non_null(strstr(buf_text(&text), "to some domains"));
	buf_free(&text);
	settings_free(&settings);
	values_free(&values);
}

/* Classes that name each other, many times: the end is reached, and soon. */
static void
classes_in_circles_come_to_an_end(void **state)
{
	(void)state;
	struct values   values = VALUES_NONE;
	struct settings settings;
	struct error    error = ERROR_NONE;
	struct buf      text = BUF(10000);

	assert_true(values_from_text(&values,
	                             "smtpd_restriction_classes = a b\na = b b b b a\n"
	                             "b = a a a a b\nsmtpd_relay_restrictions = a, reject\n",
	                             &error));
	assert_true(settings_init(&settings, &values, NULL));
	(void)relay_evaluate(&settings, NULL, &text);
	buf_free(&text);
	settings_free(&settings);
	values_free(&values);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_list_is_followed_to_its_end),
		cmocka_unit_test(domains_that_only_a_table_knows_count),
		cmocka_unit_test(classes_in_circles_come_to_an_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
