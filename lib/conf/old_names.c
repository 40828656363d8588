/* old_names.c - see old_names.h. */
#include "lib/conf/old_names.h"

#include "lib/conf/parameters.h"

static const struct {
	const char *old;
	const char *when; /* the old value for which the row counts; NULL for each */
	const char *name;
	const char *text;                 /* the new value; NULL for the old one */
	const char *beside, *beside_text; /* counts only when this is set so, too; or NULL */
} old_names[] = {
	{ "smtpd_enforce_tls", "yes", "smtpd_tls_security_level", "encrypt", NULL, NULL },
	{ "smtpd_use_tls", "yes", "smtpd_tls_security_level", "may", NULL, NULL },
	{ "smtpd_use_tls", "no", "smtpd_tls_security_level", "none", NULL, NULL },
	{ "smtp_enforce_tls", "yes", "smtp_tls_security_level", "encrypt",
	  "smtp_tls_enforce_peername", "no" },
	{ "smtp_enforce_tls", "yes", "smtp_tls_security_level", "verify", NULL, NULL },
	{ "smtp_use_tls", "yes", "smtp_tls_security_level", "may", NULL, NULL },
	{ "smtp_use_tls", "no", "smtp_tls_security_level", "none", NULL, NULL },
	{ "lmtp_enforce_tls", "yes", "lmtp_tls_security_level", "encrypt",
	  "lmtp_tls_enforce_peername", "no" },
	{ "lmtp_enforce_tls", "yes", "lmtp_tls_security_level", "verify", NULL, NULL },
	{ "lmtp_use_tls", "yes", "lmtp_tls_security_level", "may", NULL, NULL },
	{ "lmtp_use_tls", "no", "lmtp_tls_security_level", "none", NULL, NULL },
	{ "virtual_maps", NULL, "virtual_alias_maps", NULL, NULL, NULL },
	{ "smtpd_client_connection_limit_exceptions", NULL, "smtpd_client_event_limit_exceptions",
	  NULL, NULL, NULL },
	/* Dovecot's, for POP3 and submission. */
	{ "disable_plaintext_auth", "yes", "auth_allow_cleartext", "no", NULL, NULL },
	{ "disable_plaintext_auth", "no", "auth_allow_cleartext", "yes", NULL, NULL },
};
#define OLD_NAME_COUNT (sizeof(old_names) / sizeof(old_names[0]))

bool
old_name_is_known(struct slice name)
{
	for (size_t i = 0; i < OLD_NAME_COUNT; i++) {
		if (slice_equal(name, slice_from(old_names[i].old)) ||
		    (old_names[i].beside != NULL &&
		     slice_equal(name, slice_from(old_names[i].beside))))
			return true;
	}
	return false;
}

static bool
row_counts(const struct values *values, size_t row, const struct conf_value *value)
{
	const struct conf_value *beside = NULL;

	if (old_names[row].when != NULL &&
	    !slice_equal_fold(slice_from(value->text), slice_from(old_names[row].when)))
		return false;
	if (old_names[row].beside == NULL)
		return true;
	beside = values_get(values, slice_from(old_names[row].beside));
	return beside != NULL &&
	       slice_equal_fold(slice_from(beside->text), slice_from(old_names[row].beside_text));
}

void
old_names_translate(struct values *values, struct report *report)
{
	for (size_t i = 0; i < OLD_NAME_COUNT; i++) {
		const struct conf_value *value = values_get(values, slice_from(old_names[i].old));
		const struct conf_value *newer = values_get(values, slice_from(old_names[i].name));
		const char              *text = old_names[i].text;

		if (value == NULL || !row_counts(values, i, value))
			continue;
		text = text == NULL ? value->text : text;
		/* Two old names may mean the same: the first row that counted has set it. */
		if (newer != NULL && newer->line == value->line &&
		    strcmp(newer->file, value->file) == 0)
			continue;
		report_add(report, PROBLEM_WARNING, value->file, value->line,
		           newer == NULL
		                   ? "%s is an old name: %s = %.200s is what it means now"
		                   : "%s is an old name of %s, which is set, too: write only that",
		           value->name, old_names[i].name, text);
		if (newer == NULL &&
		    !values_set(values, slice_from(old_names[i].name), slice_from(text),
		                value->file, value->line, value->is_override))
			report_add(report, PROBLEM_ERROR, value->file, value->line,
			           "out of memory");
	}
}

/* ---- lmtp ---- */

static bool
has_row(struct slice name)
{
	for (size_t i = 0; i < parameter_row_count; i++) {
		if (slice_equal(name, slice_from(parameter_rows[i].name)))
			return true;
	}
	return false;
}

bool
old_name_lmtp_twin(struct slice name, struct buf *out)
{
	static const char *const others[][2] = {
		{ "lmtp_lhlo_timeout", "smtp_helo_timeout" },
		{ "lmtp_discard_lhlo_keywords", "smtp_discard_ehlo_keywords" },
	};

	buf_clear(out);
	if (!slice_starts_with(name, SLICE("lmtp_")) || has_row(name))
		return false;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (slice_equal(name, slice_from(others[i][0])))
			return buf_append_text(out, others[i][1]);
	}
	return buf_append_text(out, "smtp_") && buf_append(out, slice_from_offset(name, 5)) &&
	       has_row(buf_slice(out));
}

bool
old_names_for_lmtp(struct values *values, const struct values *from)
{
	struct buf twin = BUF(1000);
	bool       is_ok = true;

	for (size_t i = 0; is_ok && i < from->list.count; i++) {
		const struct conf_value *value = from->list.items[i];

		if (old_name_lmtp_twin(slice_from(value->name), &twin))
			is_ok = values_set(values, buf_slice(&twin), slice_from(value->text),
			                   value->file, value->line, value->is_override);
	}
	buf_free(&twin);
	return is_ok;
}
