/* online.c - dakiya check --online: gathers, asks in order, prints; see online.h. */
#include "tools/dakiya/online.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/conf/restrictions.h"
#include "lib/conf/snapshot.h"
#include "lib/ipc/channel.h"
#include "lib/table/net.h"

#define WHOLE_MOST_MS    120000
#define QUESTION_MOST_MS 8000

/* ---- what is said ---- */

void
online_say(struct online *online, enum finding_kind kind, const char *about, const char *record,
           const char *format, ...)
{
	struct buf text = BUF(10000);
	va_list    arguments;

	va_start(arguments, format);
	buf_append_vformat(&text, format, arguments);
	va_end(arguments);

	struct finding finding = { kind, about,
		                   arena_text(&online->arena, slice_from(buf_text(&text))),
		                   record };
	if (finding.text != NULL)
		(void)ARRAY_PUSH(&online->findings, finding);
	buf_free(&text);
}

const char *
online_text(struct online *online, const char *format, ...)
{
	struct buf  text = BUF(10000);
	va_list     arguments;
	const char *copy;

	va_start(arguments, format);
	buf_append_vformat(&text, format, arguments);
	va_end(arguments);
	copy = arena_text(&online->arena, slice_from(buf_text(&text)));
	buf_free(&text);
	return copy == NULL ? "" : copy;
}

enum dns_status
online_ask(struct online *online, const char *name, enum dns_type type, struct dns_answer *answer,
           struct error *error)
{
	int64_t left_ms = online->deadline_ms - clock_monotonic_ms();

	*answer = (struct dns_answer){ 0 };
	if (left_ms <= 0) {
		error_set(error, "no time is left to ask for %s", name);
		return DNS_TRY_LATER;
	}
	return dns_query(online->dns, slice_from(name), type,
	                 left_ms < QUESTION_MOST_MS ? left_ms : QUESTION_MOST_MS, &online->arena,
	                 answer, error);
}

const char *
online_address_text(struct online *online, const struct dns_record *record)
{
	char text[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(record->data.length == 4 ? AF_INET : AF_INET6, record->data.data, text,
	                sizeof(text));
	return online_text(online, "%s", text);
}

bool
online_is_private(const char *address)
{
	static const char *const privates[] = { "10.0.0.0/8",  "172.16.0.0/12", "192.168.0.0/16",
		                                "127.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16",
		                                "fc00::/7",    "fe80::/10",     "::1/128",
		                                "0.0.0.0/8" };
	struct net               one, net;

	if (!net_parse_address(slice_from(address), &one))
		return false;
	for (size_t i = 0; i < sizeof(privates) / sizeof(privates[0]); i++) {
		if (net_parse(slice_from(privates[i]), &net, NULL) && net_contains(&net, &one))
			return true;
	}
	return false;
}

bool
online_is_ours(const struct online *online, const struct dns_record *record)
{
	for (size_t i = 0; i < online->address_count; i++) {
		if (slice_equal(record->data, slice_of((const char *)online->addresses[i].bytes,
		                                       online->addresses[i].length)))
			return true;
	}
	return false;
}

/* ---- domains ---- */

static bool
is_domain_of_mail(const struct online *online, struct slice name)
{
	return slice_contains_byte(name, '.') && !slice_contains_byte(name, '@') &&
	       name.data[0] != '.' && name.data[0] != '!' && name.data[0] != '/' &&
	       name.data[0] != '[' && !slice_starts_with_fold(name, SLICE("localhost.")) &&
	       !slice_equal_fold(name, slice_from(online->parameters->myhostname)) &&
	       name.length <= 253;
}

static void
add_domain(struct online *online, struct slice name)
{
	if (!is_domain_of_mail(online, name) || online->domain_count >= ONLINE_DOMAINS_MOST)
		return;
	for (size_t i = 0; i < online->domain_count; i++) {
		if (slice_equal_fold(name, slice_from(online->domains[i])))
			return;
	}
	const char *copy = online_text(online, "%.*s", SLICE_ARGS(name));
	if (copy[0] != '\0')
		online->domains[online->domain_count++] = copy;
}

static void
visit_domain(void *context, const struct check_entry *entry)
{
	if (!entry->is_rule)
		add_domain(context, entry->key);
}

static void
gather_domains(struct online *online)
{
	const char *const lists[] = { online->parameters->mydestination,
		                      online->parameters->virtual_mailbox_domains,
		                      online->parameters->virtual_alias_domains,
		                      online->parameters->myorigin };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct slice rest = slice_from(lists[i]), word;

		while (restriction_next_word(&rest, &word)) {
			struct check_wish wish = { .spec = word };

			if (slice_contains_byte(word, ':'))
				(void)check_read_table(&wish, visit_domain, online);
			else
				add_domain(online, word);
		}
	}
}

/* ---- clock and resolver ---- */

static void
check_clock(struct online *online)
{
	struct timex status = { .modes = 0 };
	int          state = adjtimex(&status);

	if (state < 0)
		online_say(online, FINDING_UNKNOWN, "clock", NULL,
		           "the kernel does not tell whether the clock is kept right");
	else if (state == TIME_ERROR || (status.status & STA_UNSYNC) != 0)
		online_say(online, FINDING_WARNING, "clock", NULL,
		           "the clock is not kept right by NTP: install chrony or "
		           "systemd-timesyncd");
	else
		online_say(online, FINDING_OK, "clock", NULL, "kept right by NTP (within %ld ms)",
		           status.maxerror / 1000);
}

static void
check_resolver(struct online *online)
{
	struct dns_answer answer;
	struct error      error = ERROR_NONE;
	struct buf public = BUF(1000);

	if (online->is_by_itself)
		online_say(online, FINDING_HINT, "resolver", NULL,
		           "no resolver runs here: names are asked by this command itself");
	if (check_public_resolver(&online->configuration->settings, &public))
		online_say(online, FINDING_WARNING, "resolver", NULL,
		           "%s is a public resolver: blocklists do not answer it; leave "
		           "resolver_forwarders empty",
		           buf_text(&public));
	buf_free(&public);
	/* A zone that has been signed for long. */
	enum dns_status status = online_ask(online, "org", DNS_SOA, &answer, &error);
	if (status != DNS_FOUND)
		online_say(online, FINDING_UNKNOWN, "resolver", NULL,
		           "whether it validates is not known: %s", error.text);
	else if (answer.is_secure)
		online_say(online, FINDING_OK, "resolver", NULL, "validates (DNSSEC)");
	else
		online_say(online, FINDING_WARNING, "resolver", NULL,
		           "does not validate (DNSSEC): DANE does not work; see resolver_dnssec "
		           "and resolver_trust_anchor_file");
}

/* ---- printing ---- */

static const char *const kind_words[] = { "ok", "hint", "warning", "wrong", "not known" };

static void
append_lines(const struct online *online, struct buf *out)
{
	for (size_t i = 0; i < online->findings.count; i++) {
		const struct finding *finding = &online->findings.items[i];
		struct slice          rest, line;

		buf_append_format(out, "%s: %s: ", kind_words[finding->kind], finding->about);
		buf_append_printable(out, slice_from(finding->text));
		buf_append_byte(out, '\n');
		if (finding->record == NULL)
			continue;
		rest = slice_from(finding->record);
		while (slice_next_part(&rest, '\n', &line)) {
			buf_append_text(out, "    ");
			buf_append_printable(out, line);
			buf_append_byte(out, '\n');
		}
	}
}

static void
append_json(const struct online *online, struct buf *out)
{
	buf_append_byte(out, '[');
	for (size_t i = 0; i < online->findings.count; i++) {
		const struct finding *finding = &online->findings.items[i];

		buf_append_text(out, i == 0 ? "\n  {" : ",\n  {");
		json_append_member(out, "result", slice_from(kind_words[finding->kind]));
		buf_append_text(out, ", ");
		json_append_member(out, "about", slice_from(finding->about));
		buf_append_text(out, ", ");
		json_append_member(out, "text", slice_from(finding->text));
		if (finding->record != NULL) {
			buf_append_text(out, ", ");
			json_append_member(out, "record", slice_from(finding->record));
		}
		buf_append_byte(out, '}');
	}
	buf_append_byte(out, ']');
}

/* ---- all ---- */

/* The resolver that runs, or libunbound in this process. */
static bool
open_dns(struct online *online, struct error *error)
{
	struct ipc_channel channel;
	const char        *path =
		online_text(online, "%s/private/resolver", online->parameters->queue_directory);

	if (ipc_channel_connect(&channel, path, error)) {
		ipc_channel_close(&channel);
		online->dns = dns_client_create(path);
	} else {
		*error = ERROR_NONE;
		online->is_by_itself = true;
		online->dns = dns_client_create_private(online->parameters, error);
	}
	return online->dns != NULL;
}

static bool
is_anything_wrong(const struct online *online)
{
	for (size_t i = 0; i < online->findings.count; i++) {
		if (online->findings.items[i].kind == FINDING_WRONG)
			return true;
	}
	return false;
}

bool
check_online(const struct tool *tool, const struct configuration *configuration, struct buf *out)
{
	struct online online = { .configuration = configuration,
		                 .parameters = &configuration->parameters,
		                 .arena = ARENA(32u * 1024 * 1024),
		                 .deadline_ms = clock_monotonic_ms() + WHOLE_MOST_MS };
	struct error  error = ERROR_NONE;

	/* A port that closes while we speak is a finding. */
	signal(SIGPIPE, SIG_IGN);
	check_clock(&online);
	if (open_dns(&online, &error)) {
		check_resolver(&online);
		gather_domains(&online);
		online_host(&online);
		online_ports(&online);
		online_mx(&online);
		online_policies(&online);
		online_lists(&online);
	} else {
		online_say(&online, FINDING_WRONG, "resolver", NULL, "names cannot be asked: %s",
		           error.text);
	}
	if (tool->wants_json)
		append_json(&online, out);
	else
		append_lines(&online, out);
	bool is_good = !is_anything_wrong(&online);
	sk_X509_pop_free(online.chain, X509_free);
	dns_client_destroy(&online.dns);
	ARRAY_FREE(&online.findings);
	arena_reset(&online.arena);
	return is_good;
}
