/*
 * local.c - how local handles a name: alias, user or unknown; and as whom. See route.h.
 *
 * Everything that needs a table is looked up here, since the worker that does the delivery runs
 * as the user and may not be able to read them.
 */
#include "lib/route/router.h"

#include <stdio.h>
#include <sys/stat.h>

#include "lib/base/number.h"
#include "lib/conf/macros.h"
#include "lib/ipc/messages.h"
#include "lib/mail/aliases.h"
#include "lib/table/textlines.h"

#define RECORD_MOST (ROUTER_VALUE_MOST + 65536)
#define TRANSPORT   SLICE("local")
/* What may come from an address into luser_relay: nothing that ends an address in a list. */
#define LUSER_FILTER "1234567890!%-_=+.~#&*?^abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* What is found out about one name. */
struct finding {
	struct router               *router;
	const struct router_address *address;
	struct arena                *arena;
	struct error                *error;
	struct buf                   value;
	struct slice                 whole;     /* the local part in lower case */
	struct slice                 user;      /* without extension */
	struct slice                 extension; /* as it was written */
};

/* A line of passwd(5). */
struct account {
	int64_t      uid, gid;
	struct slice home, shell;
};

static enum lookup
later(struct finding *finding, const char *why)
{
	error_set(finding->error, "%s", why);
	return LOOKUP_TRY_LATER;
}

static enum lookup
out_of_memory(struct finding *finding)
{
	return later(finding, "out of memory for the route");
}

/* ---- names ---- */

static bool
is_special(const struct finding *finding, struct slice name)
{
	return finding->router->parameters->owner_request_special &&
	       (slice_starts_with_fold(name, SLICE("owner-")) ||
	        slice_ends_with_fold(name, SLICE("-request")));
}

static bool
find_names(struct finding *finding)
{
	struct slice local = finding->address->parts.local, user, extension;
	struct buf   lower = BUF(ADDRESS_LOCAL_MOST);

	bool ok = buf_append_lower(&lower, local);
	finding->whole = ok ? arena_copy(finding->arena, buf_slice(&lower)) : SLICE_EMPTY;
	buf_free(&lower);
	finding->user = finding->whole;
	if (!is_special(finding, local) &&
	    address_split_extension(local, finding->router->parameters->recipient_delimiter, &user,
	                            &extension)) {
		finding->user = slice_first(finding->whole, user.length);
		finding->extension = extension;
	}
	return ok && finding->whole.data != NULL;
}

/* ---- tables by name ---- */

/* The trimmed value is kept in the arena. */
static enum lookup
ask(struct finding *finding, enum router_table table, const char *name, struct slice key,
    struct slice *result)
{
	enum lookup found = table_list_lookup(finding->router->tables[table], key, &finding->value,
	                                      finding->error);

	if (found == LOOKUP_TRY_LATER)
		error_prefix(finding->error, "%s", name);
	if (found != LOOKUP_FOUND)
		return found;
	*result = arena_copy(finding->arena, slice_trim(buf_slice(&finding->value)));
	return result->data == NULL ? out_of_memory(finding) : LOOKUP_FOUND;
}

/* A table's transport:nexthop, or the parameter's; empty when there is neither. */
static enum lookup
ask_transport(struct finding *finding, enum router_table table, const char *name,
              const char *parameter, struct slice *transport)
{
	enum lookup found = ask(finding, table, name, finding->user, transport);

	if (found == LOOKUP_NOT_FOUND)
		*transport = slice_trim(slice_from(parameter));
	return found == LOOKUP_TRY_LATER ? found : LOOKUP_FOUND;
}

/* ---- users ---- */

static bool
account_parse(struct slice line, struct account *account)
{
	struct slice rest = line, fields[7];

	for (size_t i = 0; i < 7; i++)
		if (!slice_next_part(&rest, ':', &fields[i]))
			fields[i] = SLICE_EMPTY;
	account->home = fields[5];
	account->shell = slice_trim(fields[6]);
	return number_parse(fields[2], 0, UINT32_MAX - 1, &account->uid) &&
	       number_parse(fields[3], 0, UINT32_MAX - 1, &account->gid) &&
	       !slice_has_control(account->home) && !slice_has_control(account->shell);
}

static enum lookup
ask_account(struct finding *finding, struct account *account)
{
	struct slice line;

	if (slice_contains_byte(finding->user, '/') || finding->user.data[0] == '.')
		return LOOKUP_NOT_FOUND; /* no name of a file in the spool */
	enum lookup found = ask(finding, TABLE_LOCAL_USER, "local_user_maps", finding->user, &line);
	if (found != LOOKUP_FOUND || account_parse(line, account))
		return found;
	error_set(finding->error, "local_user_maps: %.*s: not a line of passwd(5)",
	          SLICE_ARGS(finding->user));
	return LOOKUP_TRY_LATER;
}

/* ---- routes ---- */

static enum lookup
set_record(struct finding *finding, struct route *route, const struct msg_local *record)
{
	struct buf list = BUF(RECORD_MOST);

	route->local = msg_local_append(&list, record)
	                       ? arena_copy(finding->arena, buf_slice(&list))
	                       : (struct slice){ NULL, 0 };
	buf_free(&list);
	return route->local.data == NULL ? out_of_memory(finding) : LOOKUP_FOUND;
}

static enum lookup
set_transport(struct finding *finding, struct slice text, struct route *route)
{
	size_t       colon = slice_find_byte(text, ':');
	struct slice recipient = route->recipient;

	*route = (struct route){ .transport = slice_first(text, colon),
		                 .nexthop = colon == SLICE_NOT_FOUND
		                                    ? SLICE_EMPTY
		                                    : slice_from_offset(text, colon + 1),
		                 .recipient = recipient };
	if (route->nexthop.length == 0)
		route->nexthop = finding->address->parts.domain;
	if (slice_equal(route->transport, TRANSPORT)) {
		route->transport = SLICE("retry");
		route->nexthop = SLICE("4.3.5 mail for local users loops back to local");
	} else if (slice_equal(route->transport, SLICE("virtual"))) {
		return router_fill_mailbox(finding->router, finding->address, finding->arena, route,
		                           finding->error);
	}
	return LOOKUP_FOUND;
}

static enum lookup
set_failure(struct finding *finding, struct route *route, const char *transport, const char *text)
{
	char *kept = arena_text(finding->arena, slice_from(text));

	if (kept == NULL)
		return out_of_memory(finding);
	*route = (struct route){ .transport = slice_from(transport),
		                 .nexthop = slice_from(kept),
		                 .recipient = route->recipient };
	return LOOKUP_FOUND;
}

static struct route *
add_next(struct finding *finding, struct route *route)
{
	route->next = arena_alloc(finding->arena, sizeof(*route->next));
	if (route->next != NULL)
		*route->next = (struct route){ .transport = TRANSPORT,
			                       .nexthop = route->nexthop,
			                       .recipient = route->recipient,
			                       .uid = route->uid,
			                       .gid = route->gid };
	return route->next;
}

/* The mailbox below mail_spool_directory, written by a worker with that directory's group. */
static enum lookup
set_spool(struct finding *finding, struct route *route)
{
	struct slice     spool = slice_from(finding->router->parameters->mail_spool_directory);
	struct msg_local record = { .kind = LOCAL_SPOOL, .name = finding->user };
	bool             is_maildir = spool.length > 0 && spool.data[spool.length - 1] == '/';
	char            *mailbox = arena_format(finding->arena, "%.*s%s", SLICE_ARGS(finding->user),
                                     is_maildir ? "/" : "");

	if (mailbox == NULL)
		return out_of_memory(finding);
	route->mailbox = slice_from(mailbox);
	route->is_spool = true;
	return set_record(finding, route, &record);
}

/*
 * What is behind a user's .forward: mailbox_transport_maps, mailbox_transport,
 * mailbox_command_maps, mailbox_command, home_mailbox, mail_spool_directory. What the worker does
 * not do itself becomes the next stage.
 */
static enum lookup
set_mailbox(struct finding *finding, struct route *route, struct msg_local *record)
{
	const struct parameters *parameters = finding->router->parameters;
	struct slice             transport;

	enum lookup found =
		ask_transport(finding, TABLE_MAILBOX_TRANSPORT, "mailbox_transport_maps",
	                      parameters->mailbox_transport, &transport);
	if (found != LOOKUP_FOUND)
		return found;
	if (transport.length > 0) {
		struct route *next = add_next(finding, route);

		record->has_next = true;
		if (next == NULL)
			return out_of_memory(finding);
		found = set_transport(finding, transport, next);
		return found != LOOKUP_NOT_FOUND
		               ? found
		               : set_failure(finding, next, "error",
		                             "5.1.1 User unknown in virtual mailbox table");
	}
	found = ask(finding, TABLE_MAILBOX_COMMAND, "mailbox_command_maps", finding->user,
	            &record->command);
	if (found == LOOKUP_TRY_LATER)
		return found;
	if (found == LOOKUP_NOT_FOUND)
		record->command = slice_trim(slice_from(parameters->mailbox_command));
	if (record->command.length > 0 || parameters->home_mailbox[0] != '\0')
		return LOOKUP_FOUND;
	struct route *next = add_next(finding, route);
	record->has_next = true;
	return next == NULL ? out_of_memory(finding) : set_spool(finding, next);
}

static enum lookup
set_user(struct finding *finding, const struct account *account, struct route *route)
{
	struct msg_local record = { .kind = LOCAL_USER,
		                    .name = finding->user,
		                    .extension = finding->extension,
		                    .home = account->home,
		                    .shell = account->shell };

	/* Nothing is ever delivered as root; a text of 4.x.x so that the mail is not lost. */
	if (account->uid == 0)
		return set_failure(finding, route, "retry",
		                   "4.2.0 mail for root needs an alias to a person: "
		                   "see aliases(5), then newaliases");
	if (account->gid == 0)
		return set_failure(finding, route, "retry",
		                   "4.2.0 no mail is delivered with the group id of root: "
		                   "make an alias");
	route->uid = (uint32_t)account->uid;
	route->gid = (uint32_t)account->gid;
	enum lookup found = set_mailbox(finding, route, &record);
	return found == LOOKUP_FOUND ? set_record(finding, route, &record) : found;
}

/* ---- aliases ---- */

/* The file that an alias table's content comes from; false when it has none. */
static bool
table_file(const struct table *table, char path[4096])
{
	static const struct {
		const char *type;
		const char *suffix;
	} rows[] = {
		{ "hash:", ".db" },  { "btree:", ".db" }, { "lmdb:", ".lmdb" }, { "cdb:", ".cdb" },
		{ "texthash:", "" }, { "cidr:", "" },     { "regexp:", "" },    { "pcre:", "" },
	};
	struct slice spec = slice_from(table_spec(table));

	if (slice_starts_with(spec, SLICE("proxy:")))
		spec = slice_from_offset(spec, strlen("proxy:"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct slice type = slice_from(rows[i].type);

		if (!slice_starts_with(spec, type))
			continue;
		int length =
			snprintf(path, 4096, "%.*s%s",
		                 SLICE_ARGS(slice_from_offset(spec, type.length)), rows[i].suffix);
		return length > 0 && length < 4096 && path[0] == '/';
	}
	return false;
}

/* The primary group of a user id, from /etc/passwd: its own tables know names only. */
static bool
group_of(uid_t uid, int64_t *gid)
{
	struct buf     text = BUF(TEXTLINES_FILE_MOST);
	struct slice   rest, line;
	struct account account;
	bool           is_found = false;

	if (textlines_read_file("/etc/passwd", &text, NULL)) {
		rest = buf_slice(&text);
		while (!is_found && slice_next_part(&rest, '\n', &line))
			is_found = account_parse(line, &account) && account.uid == (int64_t)uid;
	}
	if (is_found)
		*gid = account.gid;
	buf_free(&text);
	return is_found;
}

/* As whom the commands and files of a table's aliases are handled. */
static enum lookup
set_alias_identity(struct finding *finding, const struct table *table, struct route *route)
{
	const struct router *router = finding->router;
	struct stat          status = { .st_uid = 0 };
	char                 path[4096];
	int64_t              gid;

	if (table != NULL && table_file(table, path) && stat(path, &status) != 0) {
		error_set_errno(finding->error, "owner of %.300s", path);
		return LOOKUP_TRY_LATER;
	}
	route->is_shared = true;
	if (status.st_uid == 0) {
		if (router->default_privs_error.text[0] != '\0') {
			error_set(finding->error, "default_privs: %s",
			          router->default_privs_error.text);
			return LOOKUP_TRY_LATER;
		}
		if (router->default_privs.uid == 0 || router->default_privs.gid == 0)
			return later(finding, "default_privs must not be root");
		route->uid = router->default_privs.uid;
		route->gid = router->default_privs.gid;
		return LOOKUP_FOUND;
	}
	if (!group_of(status.st_uid, &gid) || gid == 0)
		return later(finding, "cannot find alias database owner");
	route->uid = status.st_uid;
	route->gid = (uint32_t)gid;
	return LOOKUP_FOUND;
}

/* The one plain address that text is; false when it is more, or something else. */
static bool
single_address(struct finding *finding, struct slice text, struct slice *address)
{
	struct alias_destination one, more;

	if (alias_next(&text, finding->arena, &one, NULL) != ALIAS_FOUND ||
	    one.kind != ALIAS_ADDRESS ||
	    alias_next(&text, finding->arena, &more, NULL) != ALIAS_END)
		return false;
	*address = one.text;
	return true;
}

/* The reverse-path for what the alias expands to: its owner- alias, when there is one. */
static enum lookup
find_owner(struct finding *finding, struct slice name, struct slice *owner)
{
	const struct parameters *parameters = finding->router->parameters;
	struct slice             value, address;

	*owner = SLICE_EMPTY;
	if (slice_starts_with(name, SLICE("owner-")))
		return LOOKUP_FOUND;
	char *key = arena_format(finding->arena, "owner-%.*s", SLICE_ARGS(name));
	if (key == NULL)
		return out_of_memory(finding);
	enum lookup found = ask(finding, TABLE_ALIAS, "alias_maps", slice_from(key), &value);
	if (found != LOOKUP_FOUND)
		return found == LOOKUP_NOT_FOUND ? LOOKUP_FOUND : found;
	address = slice_from(key);
	if (parameters->expand_owner_alias)
		single_address(finding, value, &address);
	*owner = slice_contains_byte(address, '@')
	                 ? address
	                 : slice_from(arena_format(finding->arena, "%.*s@%s", SLICE_ARGS(address),
	                                           parameters->myorigin));
	return owner->length == 0 ? out_of_memory(finding) : LOOKUP_FOUND;
}

/* The alias's text may name the user of the same name: its mailbox is the next stage. */
static enum lookup
add_own_mailbox(struct finding *finding, struct slice text, struct route *route,
                struct msg_local *record)
{
	struct account account;
	struct buf     lower = BUF(ROUTER_VALUE_MOST);

	bool is_named = buf_append_lower(&lower, text) &&
	                slice_find(buf_slice(&lower), finding->user) != SLICE_NOT_FOUND;
	buf_free(&lower);
	if (!is_named)
		return LOOKUP_FOUND;
	enum lookup found = ask_account(finding, &account);
	if (found != LOOKUP_FOUND)
		return found == LOOKUP_NOT_FOUND ? LOOKUP_FOUND : found;
	struct route *next = add_next(finding, route);
	if (next == NULL)
		return out_of_memory(finding);
	record->has_next = true;
	if (account.uid == 0) /* not retry: the rest of the alias would be done again each time */
		return set_failure(finding, next, "error",
		                   "5.2.0 the alias of root must name a person");
	return set_user(finding, &account, next);
}

static enum lookup
set_alias(struct finding *finding, const struct table *table, struct slice name, struct slice text,
          struct route *route)
{
	struct msg_local record = {
		.kind = LOCAL_ALIAS, .name = name, .extension = finding->extension, .text = text
	};

	enum lookup found = set_alias_identity(finding, table, route);
	if (found == LOOKUP_FOUND)
		found = find_owner(finding, name, &record.owner);
	if (found == LOOKUP_FOUND)
		found = add_own_mailbox(finding, text, route, &record);
	return found == LOOKUP_FOUND ? set_record(finding, route, &record) : found;
}

/*
 * What a pattern table says may hold parts of the name, which a stranger chose: it makes a command
 * or a file only of the plainest names.
 */
static enum lookup
check_pattern_result(struct finding *finding, const struct table *table, struct slice name,
                     struct slice text)
{
	struct slice plain = SLICE("abcdefghijklmnopqrstuvwxyz0123456789._+=-");
	bool         is_plain = name.data[0] != '-' && name.data[0] != '.';

	for (size_t i = 0; i < name.length; i++)
		is_plain = is_plain && slice_contains_byte(plain, name.data[i]);
	if (is_plain || !table_has_patterns(table) ||
	    (!slice_contains_byte(text, '|') && !slice_contains_byte(text, '/')))
		return LOOKUP_FOUND;
	error_set(finding->error, "alias_maps: %.200s: no command or file for such a name",
	          table_spec(table));
	return LOOKUP_TRY_LATER;
}

/* In the first table that knows the name. */
static enum lookup
try_alias(struct finding *finding, struct slice name, struct route *route)
{
	struct table_list *list = finding->router->tables[TABLE_ALIAS];

	for (size_t i = 0; i < table_list_count(list); i++) {
		struct table *table = table_list_get(list, i);
		enum lookup   found = table_lookup(table, name, &finding->value, finding->error);

		if (found == LOOKUP_TRY_LATER)
			error_prefix(finding->error, "alias_maps");
		if (found == LOOKUP_TRY_LATER)
			return found;
		if (found == LOOKUP_NOT_FOUND)
			continue;
		struct slice text = arena_copy(finding->arena, buf_slice(&finding->value));
		if (text.data == NULL)
			return out_of_memory(finding);
		found = check_pattern_result(finding, table, name, text);
		return found != LOOKUP_FOUND ? found : set_alias(finding, table, name, text, route);
	}
	return LOOKUP_NOT_FOUND;
}

/* ---- nobody of that name ---- */

static enum lookup
try_luser_relay(struct finding *finding, struct route *route)
{
	const struct parameters *parameters = finding->router->parameters;
	const struct macro       macros[] = {
		      { "user", finding->user, false },
		      { "local", finding->address->parts.local, false },
		      { "extension", finding->extension, false },
		      { "domain", finding->address->parts.domain, true },
		      { "recipient", finding->address->whole, false },
		      { "recipient_delimiter",
		        slice_first(slice_from(parameters->recipient_delimiter), 1), true },
	};
	struct buf text = BUF(ROUTER_VALUE_MOST);

	if (slice_trim(slice_from(parameters->luser_relay)).length == 0)
		return LOOKUP_NOT_FOUND;
	if (!macros_expand(macros, sizeof(macros) / sizeof(macros[0]),
	                   slice_from(parameters->luser_relay), LUSER_FILTER, &text,
	                   finding->error)) {
		buf_free(&text);
		error_prefix(finding->error, "luser_relay");
		return LOOKUP_TRY_LATER;
	}
	struct slice kept = arena_copy(finding->arena, slice_trim(buf_slice(&text)));
	buf_free(&text);
	return kept.data == NULL ? out_of_memory(finding)
	                         : set_alias(finding, NULL, finding->user, kept, route);
}

static enum lookup
set_unknown(struct finding *finding, struct route *route)
{
	const struct parameters *parameters = finding->router->parameters;
	struct slice             transport;
	char                     text[200];

	enum lookup found =
		ask_transport(finding, TABLE_MAILBOX_TRANSPORT, "mailbox_transport_maps",
	                      parameters->mailbox_transport, &transport);
	if (found == LOOKUP_FOUND && transport.length == 0)
		found = ask_transport(finding, TABLE_FALLBACK_TRANSPORT, "fallback_transport_maps",
		                      parameters->fallback_transport, &transport);
	if (found != LOOKUP_FOUND)
		return found;
	if (transport.length > 0) {
		found = set_transport(finding, transport, route);
		if (found != LOOKUP_NOT_FOUND) /* virtual: no such mailbox either */
			return found;
	}
	found = try_luser_relay(finding, route);
	if (found != LOOKUP_NOT_FOUND)
		return found;
	snprintf(text, sizeof(text), "5.1.1 unknown user: \"%.*s\"",
	         SLICE_ARGS(slice_first(finding->user, 100)));
	return set_failure(finding, route, "error", text);
}

static enum lookup
fill(struct finding *finding, struct route *route)
{
	struct account account;
	enum lookup    found = try_alias(finding, finding->whole, route);

	if (found == LOOKUP_NOT_FOUND && finding->user.length < finding->whole.length)
		found = try_alias(finding, finding->user, route);
	if (found != LOOKUP_NOT_FOUND)
		return found;
	found = ask_account(finding, &account);
	if (found == LOOKUP_FOUND)
		return set_user(finding, &account, route);
	return found == LOOKUP_NOT_FOUND ? set_unknown(finding, route) : found;
}

enum lookup
router_fill_local(struct router *router, const struct router_address *address, struct arena *arena,
                  struct route *route, struct error *error)
{
	struct finding finding = { .router = router,
		                   .address = address,
		                   .arena = arena,
		                   .error = error,
		                   .value = BUF(ROUTER_VALUE_MOST),
		                   .extension = SLICE_EMPTY };
	struct route   filled = *route;

	enum lookup found =
		find_names(&finding) ? fill(&finding, &filled) : out_of_memory(&finding);
	if (found == LOOKUP_FOUND)
		*route = filled;
	buf_free(&finding.value);
	return found;
}
