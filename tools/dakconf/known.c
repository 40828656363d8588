/*
 * known.c - which names mean something: parameters, per-transport forms, what is used as $name,
 * restriction classes, and the settings of database tables ("pg_hosts" for pgsql:pg).
 */
#include "tools/dakconf/dakconf.h"

#include <stdlib.h>

#include "lib/conf/names.h"

/* ---- Postfix's own parameters that this suite lacks ---- */

static const struct foreign_default {
	const char *name, *standard;
} foreign_defaults[] = {
#define DEFAULT(name_, standard_) { name_, standard_ },
#include "tools/dakconf/postfix_defaults.def"
#undef DEFAULT
};
#define FOREIGN_COUNT (sizeof(foreign_defaults) / sizeof(foreign_defaults[0]))

static int
compare_foreign(const void *key, const void *row)
{
	const struct slice           *name = key;
	const struct foreign_default *entry = row;

	return slice_compare(*name, slice_from(entry->name));
}

static const struct foreign_default *
foreign_find(struct slice name)
{
	return bsearch(&name, foreign_defaults, FOREIGN_COUNT, sizeof(foreign_defaults[0]),
	               compare_foreign);
}

/* ---- per-transport forms ---- */

/* The ends that are worth showing, and whose value the name has when it is not set. */
static const struct {
	const char *suffix, *standard;
	bool        for_commands_only;
} service_names[] = {
	{ "_delivery_slot_cost", "$default_delivery_slot_cost", false },
	{ "_delivery_slot_discount", "$default_delivery_slot_discount", false },
	{ "_delivery_slot_loan", "$default_delivery_slot_loan", false },
	{ "_destination_concurrency_failed_cohort_limit",
	  "$default_destination_concurrency_failed_cohort_limit", false },
	{ "_destination_concurrency_limit", "$default_destination_concurrency_limit", false },
	{ "_destination_concurrency_negative_feedback",
	  "$default_destination_concurrency_negative_feedback", false },
	{ "_destination_concurrency_positive_feedback",
	  "$default_destination_concurrency_positive_feedback", false },
	{ "_destination_rate_delay", "$default_destination_rate_delay", false },
	{ "_destination_recipient_limit", "$default_destination_recipient_limit", false },
	{ "_extra_recipient_limit", "$default_extra_recipient_limit", false },
	{ "_initial_destination_concurrency", "$initial_destination_concurrency", false },
	{ "_minimum_delivery_slots", "$default_minimum_delivery_slots", false },
	{ "_recipient_limit", "$default_recipient_limit", false },
	{ "_recipient_refill_delay", "$default_recipient_refill_delay", false },
	{ "_recipient_refill_limit", "$default_recipient_refill_limit", false },
	{ "_time_limit", "$command_time_limit", true },
	{ "_transport_rate_delay", "$default_transport_rate_delay", false },
};
#define SERVICE_NAME_COUNT (sizeof(service_names) / sizeof(service_names[0]))

enum service_kind { NOT_A_TRANSPORT, TRANSPORT, COMMAND_TRANSPORT, COMMAND_ONLY };

static enum service_kind
kind_of(const struct entry *entry)
{
	static const struct {
		const char       *program;
		enum service_kind kind;
	} kinds[] = {
		{ "smtp", TRANSPORT },         { "lmtp", TRANSPORT },     { "local", TRANSPORT },
		{ "virtual", TRANSPORT },      { "error", TRANSPORT },    { "discard", TRANSPORT },
		{ "pipe", COMMAND_TRANSPORT }, { "spawn", COMMAND_ONLY },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(entry->fields[FIELD_COMMAND], kinds[i].program) == 0)
			return kinds[i].kind;
	return NOT_A_TRANSPORT;
}

static bool
has_form(enum service_kind kind, size_t row)
{
	if (service_names[row].for_commands_only)
		return kind == COMMAND_TRANSPORT || kind == COMMAND_ONLY;
	return kind == TRANSPORT || kind == COMMAND_TRANSPORT;
}

/* The row of service_names whose end the name has with a transport of master.cf in front. */
static size_t
service_row(const struct dakconf *dakconf, struct slice name)
{
	for (size_t i = 0; i < dakconf->master.entries.count; i++) {
		const struct entry *entry = &dakconf->master.entries.items[i];
		struct slice        service = slice_from(entry->fields[FIELD_SERVICE]);

		if (!slice_starts_with(name, service))
			continue;
		for (size_t row = 0; row < SERVICE_NAME_COUNT; row++)
			if (has_form(kind_of(entry), row) &&
			    slice_equal(slice_from_offset(name, service.length),
			                slice_from(service_names[row].suffix)))
				return row;
	}
	return SERVICE_NAME_COUNT;
}

void
known_each_service_name(const struct dakconf *dakconf,
                        void (*visit)(void *context, const char *name), void *context)
{
	struct buf name = BUF(1000);

	for (size_t i = 0; i < dakconf->master.entries.count; i++) {
		const struct entry *entry = &dakconf->master.entries.items[i];

		for (size_t row = 0; row < SERVICE_NAME_COUNT; row++) {
			buf_clear(&name);
			buf_append_format(&name, "%s%s", entry->fields[FIELD_SERVICE],
			                  service_names[row].suffix);
			/* One without the default_ parameter behind it would say nothing. */
			if (has_form(kind_of(entry), row) &&
			    settings_row(&dakconf->configuration->settings,
			                 slice_from(service_names[row].standard + 1)) != NULL &&
			    parameter_name_is_sound(buf_slice(&name)))
				visit(context, buf_text(&name));
		}
	}
	buf_free(&name);
}

/* ---- what is used ---- */

static void
note_reference(void *context, const struct name_reference *reference)
{
	struct dakconf *dakconf = context;

	/* Only its presence counts. */
	hash_put(&dakconf->referred, reference->name, dakconf, NULL);
}

static void
each_override(struct dakconf *dakconf,
              void (*visit)(struct dakconf *dakconf, const struct entry *entry, struct slice name,
                            struct slice value))
{
	struct slice name, value;

	for (size_t i = 0; i < dakconf->master.entries.count; i++) {
		const struct entry *entry = &dakconf->master.entries.items[i];

		for (size_t at = 0; at < entry->option_count; at++)
			if (entry_override(entry, at, &name, &value))
				visit(dakconf, entry, name, value);
	}
}

static void
note_override(struct dakconf *dakconf, const struct entry *entry, struct slice name,
              struct slice value)
{
	(void)entry;
	(void)name;
	name_each_reference(value, note_reference, dakconf);
}

/* The settings that a database table's name may have behind "_". */
static const struct {
	const char *type, *suffixes;
} database_settings[] = {
	{ "ldap",
	  "server_host server_port timeout search_base scope query_filter result_format "
	  "result_filter "
	  "domain bind bind_dn bind_pw cache cache_expiry cache_size recursion_limit "
	  "expansion_limit size_limit dereference chase_referrals version debuglevel "
	  "result_attribute special_result_attribute terminal_result_attribute "
	  "leaf_result_attribute start_tls tls_ca_cert_dir tls_ca_cert_file tls_cert tls_key "
	  "tls_require_cert tls_random_file tls_cipher_suite sasl_mechs sasl_realm "
	  "sasl_authz_id sasl_minssf" },
	{ "mysql",
	  "hosts user password dbname query result_format domain expansion_limit table "
	  "select_field "
	  "where_field additional_conditions option_file option_group tls_cert_file tls_key_file "
	  "tls_CAfile tls_CApath tls_ciphers tls_verify_cert charset require_result_set "
	  "idle_interval retry_interval" },
	{ "pgsql", "hosts user password dbname query result_format domain expansion_limit table "
	           "select_field "
	           "where_field additional_conditions select_function encoding idle_interval "
	           "retry_interval" },
	{ "sqlite",
	  "dbpath query result_format domain expansion_limit table select_field where_field "
	  "additional_conditions" },
	{ "redis", "host port password dbnum prefix timeout query_key" },
	{ "memcache",
	  "memcache backup flags ttl data_size_limit line_size_limit max_try retry_pause timeout "
	  "key_format domain" },
};

static void
note_database(struct dakconf *dakconf, struct slice name, const char *suffixes)
{
	struct slice rest = slice_from(suffixes), suffix;
	struct buf   whole = BUF(1000);

	while (slice_next_word(&rest, " ", &suffix)) {
		buf_clear(&whole);
		buf_append_format(&whole, "%.*s_%.*s", SLICE_ARGS(name), SLICE_ARGS(suffix));
		if (!whole.has_failed)
			hash_put(&dakconf->referred, buf_slice(&whole), dakconf, NULL);
	}
	buf_free(&whole);
}

/* "proxy:pgsql:name", a file's name not being one. */
static void
note_databases(struct dakconf *dakconf, struct slice value)
{
	struct slice rest = value, word, type;

	while (slice_next_word(&rest, ", \t\r\n{}", &word)) {
		struct slice name = word;

		if (slice_starts_with(name, SLICE("proxy:")))
			name = slice_from_offset(name, sizeof("proxy:") - 1);
		if (slice_find_byte(name, ':') == SLICE_NOT_FOUND ||
		    !slice_next_part(&name, ':', &type))
			continue;
		for (size_t i = 0; i < sizeof(database_settings) / sizeof(database_settings[0]);
		     i++)
			if (slice_equal(type, slice_from(database_settings[i].type)) &&
			    parameter_name_is_sound(name))
				note_database(dakconf, name, database_settings[i].suffixes);
	}
}

static void
note_override_databases(struct dakconf *dakconf, const struct entry *entry, struct slice name,
                        struct slice value)
{
	(void)entry;
	(void)name;
	note_databases(dakconf, value);
}

static void
note_classes(struct dakconf *dakconf)
{
	const struct settings *settings = &dakconf->configuration->settings;
	struct slice           text, rest, word;
	struct buf             classes = BUF(SETTINGS_TEXT_MOST);

	if (settings_text(settings, SLICE("smtpd_restriction_classes"), &text) &&
	    settings_expand(settings, NULL, SLICE("smtpd_restriction_classes"), text, &classes,
	                    NULL)) {
		rest = buf_slice(&classes);
		while (slice_next_word(&rest, ", \t\r\n", &word))
			hash_put(&dakconf->referred, word, dakconf, NULL);
	}
	buf_free(&classes);
}

bool
known_prepare(struct dakconf *dakconf)
{
	const struct values *values = dakconf->configuration->settings.values;

	for (size_t i = 0; i < values->list.count; i++) {
		struct slice text = slice_from(values->list.items[i]->text);

		name_each_reference(text, note_reference, dakconf);
		note_databases(dakconf, text);
	}
	each_override(dakconf, note_override);
	each_override(dakconf, note_override_databases);
	note_classes(dakconf);
	return true;
}

/* ---- answers ---- */

unsigned
known_class(const struct dakconf *dakconf, struct slice name)
{
	const struct settings *settings = &dakconf->configuration->settings;

	if (settings_row(settings, name) != NULL || foreign_find(name) != NULL)
		return CLASS_BUILTIN;
	if (service_row(dakconf, name) < SERVICE_NAME_COUNT)
		return CLASS_SERVICE;
	/* A transport that some main.cf of Postfix's documentation has is no transport here. */
	struct per_transport form;
	if (name_is_postfix(name) && !name_is_per_transport(name, &form))
		return CLASS_BUILTIN;
	if (values_get(settings->values, name) != NULL &&
	    hash_get(&dakconf->referred, name) != NULL)
		return CLASS_USER;
	return 0;
}

bool
known_default(const struct dakconf *dakconf, struct slice name, struct slice *text)
{
	const struct foreign_default *foreign = foreign_find(name);
	size_t                        row;

	if (settings_default(&dakconf->configuration->settings, name, text))
		return true;
	if (foreign != NULL) {
		*text = slice_from(foreign->standard);
		return true;
	}
	row = service_row(dakconf, name);
	if (row < SERVICE_NAME_COUNT)
		*text = slice_from(service_names[row].standard);
	else if (known_class(dakconf, name) == CLASS_BUILTIN)
		*text = SLICE_EMPTY; /* one that came after 3.7 */
	else
		return false;
	return true;
}

/* ---- warnings ---- */

struct watch {
	const struct dakconf *dakconf;
	const struct values  *overrides; /* the service's; NULL = main.cf */
	const char           *file;
};

static void
warn_undefined(void *context, const struct name_reference *reference)
{
	const struct watch   *watch = context;
	const struct dakconf *dakconf = watch->dakconf;

	if (known_class(dakconf, reference->name) != 0 || name_is_service_word(reference->name) ||
	    values_get(dakconf->configuration->settings.values, reference->name) != NULL ||
	    (watch->overrides != NULL && values_get(watch->overrides, reference->name) != NULL))
		return;
	dakconf_warn(dakconf, "%s/%s: undefined parameter: %.*s", dakconf->directory, watch->file,
	             SLICE_ARGS(reference->name));
}

static void
warn_service(const struct dakconf *dakconf, const struct entry *entry)
{
	struct values overrides = VALUES_NONE;
	struct watch  watch = { dakconf, &overrides, "master.cf" };

	if (!entry_overrides(entry, &overrides))
		return;
	for (size_t i = 0; i < overrides.list.count; i++) {
		const struct conf_value *value = overrides.list.items[i];
		struct slice             name = slice_from(value->name);

		name_each_reference(slice_from(value->text), warn_undefined, &watch);
		if (known_class(dakconf, name) == 0 && hash_get(&dakconf->referred, name) == NULL)
			dakconf_warn(dakconf, "%s/master.cf: unused parameter: %s=%s",
			             dakconf->directory, value->name, value->text);
	}
	values_free(&overrides);
}

void
known_warn(const struct dakconf *dakconf)
{
	const struct values *values = dakconf->configuration->settings.values;

	struct watch watch = { dakconf, NULL, "main.cf" };

	for (size_t i = 0; i < values->list.count; i++)
		name_each_reference(slice_from(values->list.items[i]->text), warn_undefined,
		                    &watch);
	for (size_t i = 0; dakconf->mode == 'p' && i < values->list.count; i++)
		if (known_class(dakconf, slice_from(values->list.items[i]->name)) == 0)
			dakconf_warn(dakconf, "%s/main.cf: unused parameter: %s=%s",
			             dakconf->directory, values->list.items[i]->name,
			             values->list.items[i]->text);
	for (size_t i = 0; i < dakconf->master.entries.count; i++)
		warn_service(dakconf, &dakconf->master.entries.items[i]);
}
