/* setup_config.c - main.cf, master.cf and the aliases: made when missing, added to when there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/conf/places.h"
#include "lib/io/file.h"
#include "tools/dakiya/setup.h"

#define TEXT_MOST   (4u * 1024 * 1024)
#define VALUE_MOST  (2u * SETUP_PATH_MOST)
#define WANTED_MOST 24

/* What main.cf is to say, and does or does not. */
struct wanted {
	const char *name;
	char        value[VALUE_MOST];
};
struct wishes {
	struct wanted list[WANTED_MOST];
	size_t        count;
};

static void __attribute__((format(printf, 3, 4)))
wish(struct wishes *wishes, const char *name, const char *format, ...)
{
	struct wanted *wanted = &wishes->list[wishes->count];
	va_list        arguments;

	if (wishes->count >= WANTED_MOST)
		return;
	wanted->name = name;
	va_start(arguments, format);
	vsnprintf(wanted->value, sizeof(wanted->value), format, arguments);
	va_end(arguments);
	wishes->count++;
}

/* ---- reading ---- */

static bool
file_text(const char *path, struct buf *text)
{
	struct error error = ERROR_NONE;
	int          fd = open(path, O_RDONLY | O_CLOEXEC);
	bool         is_ok;

	if (fd < 0)
		return errno == ENOENT || setup_fail("%s: %m", path);
	is_ok = file_read_all(fd, text, path, &error) || setup_fail("%s", error.text);
	close(fd);
	return is_ok;
}

static bool
value_in(struct slice text, const char *name, struct buf *value)
{
	struct main_file file = { 0 };
	struct report    report = REPORT_NONE;
	struct values    values = VALUES_NONE;
	bool             is_set = false;

	main_file_parse(&file, "main.cf", text, &report);
	main_file_values(&file, &values, &report);
	const struct conf_value *found = values_get(&values, slice_from(name));
	if (found != NULL)
		is_set = buf_append(value, slice_trim(slice_from(found->text)));
	values_free(&values);
	main_file_free(&file);
	report_free(&report);
	return is_set;
}

static bool
main_text(const struct setup *setup, struct buf *text)
{
	char path[SETUP_PATH_MOST + 10];

	snprintf(path, sizeof(path), "%s/main.cf", setup->config);
	return file_text(path, text);
}

bool
setup_value(const struct setup *setup, const char *name, struct buf *value)
{
	struct buf text = BUF(TEXT_MOST);
	bool       is_set = main_text(setup, &text) && value_in(buf_slice(&text), name, value);

	buf_free(&text);
	return is_set;
}

/* ---- writing ---- */

static bool
write_new(struct setup *setup, const char *name, struct slice text)
{
	struct error error = ERROR_NONE;
	int          fd = file_open_directory(setup->config, &error);
	bool         is_ok = fd >= 0 && file_replace(fd, name, text, 0644, &error);

	if (fd >= 0)
		close(fd);
	return is_ok || setup_fail("%s", error.text);
}

static bool
make_from_template(struct setup *setup, const char *name, struct slice text)
{
	char path[SETUP_PATH_MOST + 100];

	snprintf(path, sizeof(path), "%s/%s", setup->config, name);
	if (access(path, F_OK) == 0 || !setup_change(setup, "%s", path))
		return true;
	return write_new(setup, name, text);
}

/* ---- main.cf ---- */

static void
wish_for_tree(struct setup *setup, struct wishes *wishes)
{
	char path[SETUP_PATH_MOST + 20], tool[SETUP_PATH_MOST] = "";

	wish(wishes, "config_directory", "%s", setup->config);
	wish(wishes, "queue_directory", "%s", setup->queue);
	wish(wishes, "data_directory", "%s", setup->data);
	if (setup->log == NULL)
		wish(wishes, "maillog_file", "%s/mail.log", setup->directory);
	/* Not installed: the daemons are where this program was built. */
	snprintf(path, sizeof(path), "%s/master", PLACE_DAEMONS);
	if (access(path, X_OK) == 0 || !setup_tool_path("dakuser", tool, sizeof(tool)))
		return;
	char *slash = strrchr(tool, '/');
	*slash = '\0';
	wish(wishes, "command_directory", "%s", tool);
	slash = strrchr(tool, '/');
	snprintf(path, sizeof(path), "%.*s/libexec", (int)(slash - tool), tool);
	if (access(path, X_OK) != 0)
		snprintf(path, sizeof(path), "%.*s/lib/dakiya", (int)(slash - tool), tool);
	wish(wishes, "daemon_directory", "%s", path);
}

static void
wish_for_owners(struct setup *setup, struct wishes *wishes)
{
	wish(wishes, "virtual_uid_maps", "static:%u", (unsigned)setup->mail_files.uid);
	wish(wishes, "virtual_gid_maps", "static:%u", (unsigned)setup->mail_files.gid);
	if (!setup->is_root || setup->has_accounts)
		return;
	wish(wishes, "mail_owner", "64300:64300");
	wish(wishes, "net_owner", "64301:64300");
	wish(wishes, "auth_owner", "64302:64300");
	wish(wishes, "dns_owner", "64303:64300");
}

static void
wish_all(struct setup *setup, struct wishes *wishes)
{
	wish(wishes, "myhostname", "%s", setup->hostname);
	if (setup->directory != NULL)
		wish_for_tree(setup, wishes);
	if (setup->listen != NULL)
		wish(wishes, "inet_interfaces", "%s", setup->listen);
	if (setup->log != NULL)
		wish(wishes, "maillog_file", "%s", setup->log);
	wish_for_owners(setup, wishes);
	if (setup->chain_files != NULL)
		wish(wishes, "smtpd_tls_chain_files", "%s", setup->chain_files);
	else
		wish(wishes, "smtpd_tls_chain_files", "%s/host.pem", setup->config);
	wish(wishes, "smtpd_tls_security_level", "may");
	if (setup->user[0] != '\0')
		wish(wishes, "virtual_alias_maps", "texthash:%s/virtual", setup->config);
}

/*
 * Whether it is to be set: it is not set at all, or as it is shipped. What a person has set
 * otherwise stays.
 */
static bool
is_to_set(struct setup *setup, struct slice text, const struct wanted *wanted)
{
	struct buf now = BUF(TEXT_MOST), shipped = BUF(TEXT_MOST);
	bool       is_set = value_in(text, wanted->name, &now);
	bool       is_same = is_set && slice_equal(buf_slice(&now), slice_from(wanted->value));
	bool is_shipped = is_set && value_in(setup_template("main.cf"), wanted->name, &shipped) &&
	                  slice_equal(buf_slice(&now), buf_slice(&shipped));

	if (is_set && !is_same && !is_shipped)
		setup_keep(setup, "main.cf: %s = %s (setup would set %s)", wanted->name,
		           buf_text(&now), wanted->value);
	buf_free(&now);
	buf_free(&shipped);
	return !is_set || (!is_same && is_shipped);
}

/* dakconf sets them, and keeps all comments. */
static bool
set_values(struct setup *setup, struct wanted *const to_set[], size_t count)
{
	const char *arguments[WANTED_MOST + 6] = { NULL };
	char       *assignments[WANTED_MOST] = { NULL };
	char        tool[SETUP_PATH_MOST];
	size_t      used = 0;
	bool        is_ok = setup_tool_path("dakconf", tool, sizeof(tool));

	arguments[used++] = tool;
	arguments[used++] = "-c";
	arguments[used++] = setup->config;
	arguments[used++] = "-e";
	for (size_t i = 0; is_ok && i < count; i++) {
		if (asprintf(&assignments[i], "%s=%s", to_set[i]->name, to_set[i]->value) < 0)
			is_ok = setup_fail("out of memory");
		arguments[used++] = assignments[i];
	}
	if (is_ok && setup_run(arguments, NULL, NULL) != 0)
		is_ok = setup_fail("main.cf cannot be changed");
	for (size_t i = 0; i < count; i++)
		free(assignments[i]);
	return is_ok;
}

static bool
set_main(struct setup *setup, struct wishes *wishes)
{
	struct wanted *to_set[WANTED_MOST];
	struct buf     text = BUF(TEXT_MOST);
	size_t         count = 0;
	bool           is_ok = main_text(setup, &text);

	if (is_ok && text.length == 0)
		is_ok = buf_append(&text, setup_template("main.cf"));
	for (size_t i = 0; is_ok && i < wishes->count; i++) {
		struct wanted *wanted = &wishes->list[i];

		if (is_to_set(setup, buf_slice(&text), wanted) &&
		    setup_change(setup, "main.cf: %s = %s", wanted->name, wanted->value))
			to_set[count++] = wanted;
	}
	buf_free(&text);
	return is_ok && (count == 0 || set_values(setup, to_set, count));
}

/* ---- master.cf ---- */

static const struct port {
	const char *service; /* as in the shipped file */
	const char *high;
	uint16_t    number;
} ports[] = {
	{ "smtp", "2525", 25 },  { "submission", "2587", 587 }, { "submissions", "2465", 465 },
	{ "pop3", "2110", 110 }, { "pop3s", "2995", 995 },
};
#define PORT_COUNT (sizeof(ports) / sizeof(ports[0]))

/* The high port of a line of the shipped file; NULL when it is no inet service. */
static const char *
high_port(struct slice line)
{
	struct slice rest = line, name, type;

	if (!slice_next_word(&rest, " \t", &name) || !slice_next_word(&rest, " \t", &type) ||
	    !slice_equal(type, SLICE("inet")))
		return NULL;
	for (size_t i = 0; i < PORT_COUNT; i++)
		if (slice_equal(name, slice_from(ports[i].service)))
			return ports[i].high;
	return NULL;
}

static bool
master_text(const struct setup *setup, struct buf *out)
{
	struct slice rest = setup_template("master.cf"), line;

	if (setup->directory == NULL)
		return buf_append(out, rest);
	while (slice_next_part(&rest, '\n', &line)) {
		const char *port = high_port(line);

		if (port != NULL) {
			size_t blank = slice_find_byte(line, ' ');

			buf_append_text(out, port);
			for (size_t i = strlen(port); i < blank; i++)
				buf_append_byte(out, ' ');
			line = slice_from_offset(line, blank);
		}
		buf_append(out, line);
		if (rest.data != NULL)
			buf_append_byte(out, '\n');
	}
	return !out->has_failed;
}

/* A file that is there is left as it is; what it lacks is said. */
static void
look_at_master(struct setup *setup, const char *path)
{
	struct master_file file = { 0 };
	struct report      report = REPORT_NONE;

	if (!master_file_read(&file, path, &report)) {
		master_file_free(&file);
		report_free(&report);
		return;
	}
	for (size_t i = 0; i < PORT_COUNT; i++) {
		bool     is_there = strcmp(ports[i].service, "pop3") == 0; /* pop3s does */
		uint16_t high = 0;

		service_port_parse(slice_from(ports[i].high), &high);
		for (size_t j = 0; j < file.services.count; j++)
			is_there |= file.services.items[j].type == SERVICE_INET &&
			            (file.services.items[j].port == ports[i].number ||
			             file.services.items[j].port == high);
		if (!is_there)
			setup_keep(setup, "master.cf: no service on port %u (%s)", ports[i].number,
			           ports[i].service);
	}
	master_file_free(&file);
	report_free(&report);
}

static bool
make_master(struct setup *setup)
{
	struct buf text = BUF(TEXT_MOST);
	char       path[SETUP_PATH_MOST + 20];
	bool       is_ok;

	snprintf(path, sizeof(path), "%s/master.cf", setup->config);
	if (access(path, F_OK) == 0) {
		look_at_master(setup, path);
		return true;
	}
	is_ok = master_text(setup, &text) &&
	        make_from_template(setup, "master.cf", buf_slice(&text));
	buf_free(&text);
	return is_ok;
}

/* ---- aliases ---- */

static const char *const offices[] = { "postmaster", "abuse", "hostmaster", "root" };
#define OFFICE_COUNT (sizeof(offices) / sizeof(offices[0]))

/* Whether the table has a word about this domain. */
static bool
knows_domain(struct slice text, const char *domain)
{
	struct slice line, name;
	size_t       at;

	while (slice_next_part(&text, '\n', &line)) {
		if (line.length == 0 || line.data[0] == '#' ||
		    !slice_next_word(&line, " \t", &name))
			continue;
		at = slice_find_byte(name, '@');
		if (at != SLICE_NOT_FOUND &&
		    slice_equal_fold(slice_from_offset(name, at + 1), slice_from(domain)))
			return true;
	}
	return false;
}

static void
append_aliases(const struct setup *setup, struct buf *text)
{
	char local[SETUP_NAME_MOST + 70];

	snprintf(local, sizeof(local), "%.*s", (int)strcspn(setup->user, "@"), setup->user);
	if (text->length == 0) {
		buf_append_text(
			text, "# virtual - addresses that stand for others: address, then where "
			      "its mail goes.\n# A change is used at once. Names without a domain "
			      "are those of this host.\n");
		for (size_t i = 0; i < OFFICE_COUNT; i++)
			buf_append_format(text, "%s\t%s\n", offices[i], setup->user);
	}
	for (size_t i = 0; i < OFFICE_COUNT; i++)
		if (strcmp(local, offices[i]) != 0)
			buf_append_format(text, "%s@%s\t%s\n", offices[i], setup->domain,
			                  setup->user);
}

static bool
make_aliases(struct setup *setup)
{
	char       path[SETUP_PATH_MOST + 20];
	struct buf text = BUF(TEXT_MOST), maps = BUF(TEXT_MOST);
	bool       is_ok = true;

	snprintf(path, sizeof(path), "%s/virtual", setup->config);
	/* With other tables a person looks after the aliases. */
	bool is_ours = !setup_value(setup, "virtual_alias_maps", &maps) ||
	               slice_find(buf_slice(&maps), slice_from(path)) != SLICE_NOT_FOUND;
	buf_free(&maps);
	if (setup->user[0] == '\0' || !is_ours)
		return true;
	is_ok = file_text(path, &text);
	if (is_ok && !knows_domain(buf_slice(&text), setup->domain) &&
	    setup_change(setup, "%s: postmaster, abuse, hostmaster and root of %s are %s", path,
	                 setup->domain, setup->user)) {
		append_aliases(setup, &text);
		is_ok = write_new(setup, "virtual", buf_slice(&text));
	}
	buf_free(&text);
	return is_ok;
}

bool
setup_config(struct setup *setup)
{
	struct wishes *wishes = calloc(1, sizeof(*wishes));
	bool           is_ok;

	if (wishes == NULL)
		return setup_fail("out of memory");
	wish_all(setup, wishes);
	is_ok = make_from_template(setup, "main.cf", setup_template("main.cf")) &&
	        set_main(setup, wishes) && make_master(setup) && make_aliases(setup);
	free(wishes);
	return is_ok;
}
