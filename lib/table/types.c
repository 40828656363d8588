/* types.c - the rows of table types, and what texts say about tables before any is opened. */
#include "lib/table/cf.h"
#include "lib/table/type.h"

#define PREFIXES_MOST 8 /* proxy:debug:proxy: ... */

static const struct table_type *const types[] = {
	&table_type_btree,     &table_type_cdb,      &table_type_cidr,   &table_type_environ,
	&table_type_fail,      &table_type_hash,     &table_type_inline, &table_type_ldap,
	&table_type_lmdb,      &table_type_mysql,    &table_type_pcre,   &table_type_pgsql,
	&table_type_pipemap,   &table_type_randmap,  &table_type_redis,  &table_type_regexp,
	&table_type_socketmap, &table_type_sqlite,   &table_type_static, &table_type_tcp,
	&table_type_texthash,  &table_type_unionmap, &table_type_unix,
};
#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

static const char *const type_names[] = {
	"btree",  "cdb",      "cidr",     "debug",  "environ",   "fail",   "hash",
	"inline", "ldap",     "lmdb",     "mysql",  "pcre",      "pgsql",  "pipemap",
	"proxy",  "randmap",  "redis",    "regexp", "socketmap", "sqlite", "static",
	"tcp",    "texthash", "unionmap", "unix",   NULL,
};

/* Types of other suites, and what to use here. */
static const struct {
	const char *name;
	const char *advice;
} strangers[] = {
	{ "dbm", "build it as hash: or lmdb: with dakmap" },
	{ "sdbm", "build it as hash: or lmdb: with dakmap" },
	{ "nis", "use texthash: with the output of ypcat, or ldap:" },
	{ "nisplus", "use texthash: or ldap:" },
	{ "netinfo", "use texthash: or ldap:" },
	{ "mongodb", "use pgsql:, mysql: or redis:, or a socketmap: server in front of it" },
	{ "memcache", "use redis:, or a socketmap: server in front of it" },
	{ "internal", "it is Postfix's own, for its caches" },
};

const char *const *
table_type_names(void)
{
	return type_names;
}

bool
table_type_refuse(struct slice word, struct error *error)
{
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		if (slice_equal(word, slice_from(strangers[i].name)))
			return error_set(error, "tables of type %s are not supported: %s",
			                 strangers[i].name, strangers[i].advice);
	return error_set(error,
	                 "unsupported table type \"%.*s\" (`dakmap -m` lists those that there "
	                 "are)",
	                 SLICE_ARGS(slice_first(word, 60)));
}

/* proxy: is dropped, since every daemon opens tables itself. */
bool
table_spec_parse(struct slice text, struct table_spec *spec)
{
	*spec = (struct table_spec){ .type = NULL };
	for (size_t i = 0; i < PREFIXES_MOST; i++) {
		if (slice_starts_with(text, SLICE("debug:")))
			spec->is_debugged = true;
		else if (!slice_starts_with(text, SLICE("proxy:")))
			break;
		text = slice_from_offset(text, 6);
	}
	size_t colon = slice_find_byte(text, ':');
	if (colon == SLICE_NOT_FOUND || colon == 0)
		return false;
	spec->word = slice_first(text, colon);
	spec->name = slice_of(text.data + colon + 1, text.length - colon - 1);
	for (size_t i = 0; i < TYPE_COUNT; i++)
		if (slice_equal(spec->word, slice_from(types[i]->name)))
			spec->type = types[i];
	return true;
}

bool
table_spec_is_known(struct slice text)
{
	struct table_spec spec;

	return table_spec_parse(text, &spec) && spec.type != NULL;
}

bool
table_next_item(struct slice *rest, struct slice *item)
{
	struct slice separators = SLICE(", \t\r\n");
	size_t       start = 0, depth = 0, end;

	while (start < rest->length && slice_contains_byte(separators, rest->data[start]))
		start++;
	if (start == rest->length) {
		*rest = SLICE_EMPTY;
		return false;
	}
	for (end = start; end < rest->length; end++) {
		char c = rest->data[end];

		if (c == '{')
			depth++;
		else if (c == '}' && depth > 0)
			depth--;
		else if (depth == 0 && slice_contains_byte(separators, c))
			break;
	}
	*item = slice_of(rest->data + start, end - start);
	*rest = slice_from_offset(*rest, end);
	return true;
}

/* ---- for the sandbox ---- */

#define WORD_SEPARATORS ", \t\r\n{}=!"

static void
visit_directory(struct slice file, void (*visit)(const char *directory, void *context),
                void        *context)
{
	char   path[4096];
	size_t slash = slice_find_last_byte(file, '/');

	if (slice_is_empty(file) || file.data[0] != '/' || slash >= sizeof(path) - 1)
		return;
	size_t length = slash == 0 ? 1 : slash;
	memcpy(path, file.data, length);
	path[length] = '\0';
	visit(path, context);
}

/* Certificates, and the database of sqlite. */
static void
visit_named_in_cf(struct slice name, void (*visit)(const char *directory, void *context),
                  void        *context)
{
	struct error error = ERROR_NONE;
	char         path[4096];

	if (name.length >= sizeof(path))
		return;
	memcpy(path, name.data, name.length);
	path[name.length] = '\0';
	struct cf *cf = cf_read(path, &error);
	for (size_t i = 0; i < cf_count(cf); i++)
		visit_directory(slice_from(cf_value_at(cf, i)), visit, context);
	cf_free(cf);
}

void
table_each_directory(const char *text, void (*visit)(const char *directory, void *context),
                     void       *context)
{
	struct slice rest = slice_from(text), word;

	while (slice_next_word(&rest, WORD_SEPARATORS, &word)) {
		struct table_spec spec;
		bool              is_table = table_spec_parse(word, &spec) && spec.type != NULL;

		if (!is_table)
			visit_directory(word, visit, context);
		else if (spec.type == &table_type_unix)
			visit_directory(SLICE("/etc/passwd"), visit, context);
		else if (spec.type->suffix != NULL)
			visit_directory(spec.name, visit, context);
		if (is_table && spec.type->has_settings)
			visit_named_in_cf(spec.name, visit, context);
	}
}

unsigned
table_text_needs(const char *text)
{
	struct slice rest = slice_from(text), word;
	unsigned     needs = 0;

	while (slice_next_word(&rest, WORD_SEPARATORS, &word)) {
		struct table_spec spec;

		if (table_spec_parse(word, &spec) && spec.type != NULL && spec.type->needs != NULL)
			needs |= spec.type->needs(spec.name);
	}
	return needs;
}
