/* expand.c - the command's arguments. No shell, no expansion of what addresses hold: see pipe.h. */
#include "pipe/pipe.h"

#include "lib/mail/address.h"

#define WORD_MOST (1u << 20)

/* ---- addresses as flags= wants them ---- */

static void
append_folded(struct buf *out, struct slice text, bool is_folded)
{
	if (is_folded)
		buf_append_lower(out, text);
	else
		buf_append(out, text);
}

static struct slice
local_part(struct slice address)
{
	return slice_first(address, slice_find_last_byte(address, '@'));
}

static struct slice
domain_part(struct slice address)
{
	size_t at = slice_find_last_byte(address, '@');

	return at == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from_offset(address, at + 1);
}

static void
append_address(const struct pipe_arguments *arguments, struct slice address, bool may_fold,
               struct buf *out)
{
	struct buf   folded = BUF(WORD_MOST);
	struct slice local = local_part(address);

	append_folded(&folded, local, may_fold && (arguments->flags & PIPE_FOLD_LOCAL) != 0);
	append_folded(&folded, slice_from_offset(address, local.length),
	              may_fold && (arguments->flags & PIPE_FOLD_DOMAIN) != 0);
	if ((arguments->flags & PIPE_QUOTE) == 0 ||
	    !address_append_external(out, buf_slice(&folded)))
		buf_append(out, buf_slice(&folded));
	out->has_failed = out->has_failed || folded.has_failed;
	buf_free(&folded);
}

/* ---- macros ---- */

static void
append_of_recipient(const struct pipe_delivery *delivery, enum pipe_macro macro,
                    const struct msg_job_recipient *recipient, struct buf *out)
{
	const struct pipe_arguments *arguments = &delivery->room->arguments;
	bool                         fold_local = (arguments->flags & PIPE_FOLD_LOCAL) != 0;
	struct slice                 local = local_part(recipient->address), user = local;
	struct slice                 extension = SLICE_EMPTY;

	(void)address_split_extension(local, delivery->room->delimiters, &user, &extension);
	if (macro == PIPE_MACRO_RECIPIENT)
		append_address(arguments, recipient->address, true, out);
	else if (macro == PIPE_MACRO_ORIGINAL_RECIPIENT)
		append_address(arguments,
		               recipient->original.length > 0 ? recipient->original
		                                              : recipient->address,
		               true, out);
	else if (macro == PIPE_MACRO_USER)
		append_folded(out, user, fold_local);
	else if (macro == PIPE_MACRO_EXTENSION)
		append_folded(out, extension, fold_local);
	else if (macro == PIPE_MACRO_MAILBOX)
		append_folded(out, local, fold_local);
	else
		append_folded(out, domain_part(recipient->address),
		              (arguments->flags & PIPE_FOLD_DOMAIN) != 0);
}

static void
append_of_message(const struct pipe_delivery *delivery, enum pipe_macro macro, struct buf *out)
{
	const struct pipe_arguments *arguments = &delivery->room->arguments;
	const struct msg_job        *job = &delivery->job->message;
	const struct msg_envelope   *envelope = &delivery->job->envelope;
	const struct {
		enum pipe_macro macro;
		struct slice    text;
	} rows[] = {
		{ PIPE_MACRO_QUEUE_ID, job->queue_id },
		{ PIPE_MACRO_ENVID, envelope->dsn_envid },
		{ PIPE_MACRO_CLIENT_ADDRESS, envelope->client_address },
		{ PIPE_MACRO_CLIENT_HELO, envelope->client_helo },
		{ PIPE_MACRO_CLIENT_HOSTNAME, envelope->client_name },
		{ PIPE_MACRO_CLIENT_PORT, envelope->client_port },
		{ PIPE_MACRO_CLIENT_PROTOCOL, envelope->client_protocol },
		{ PIPE_MACRO_SASL_METHOD, envelope->sasl_method },
		{ PIPE_MACRO_SASL_SENDER, envelope->sasl_sender },
		{ PIPE_MACRO_SASL_USERNAME, envelope->sasl_username },
	};

	if (macro == PIPE_MACRO_SENDER && envelope->sender.length == 0)
		buf_append_text(out, arguments->null_sender);
	else if (macro == PIPE_MACRO_SENDER)
		append_address(arguments, envelope->sender, false, out);
	else if (macro == PIPE_MACRO_NEXTHOP)
		append_folded(out, job->nexthop, (arguments->flags & PIPE_FOLD_DOMAIN) != 0);
	else if (macro == PIPE_MACRO_SIZE)
		buf_append_u64(out, agent_job_size(delivery->job));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].macro == macro)
			buf_append(out, rows[i].text);
}

static const char *
expand_word(const struct pipe_delivery *delivery, const char *word,
            const struct pipe_recipient *recipient, struct arena *arena)
{
	struct slice    rest = slice_from(word), literal;
	enum pipe_macro macro;
	struct buf      out = BUF(WORD_MOST);
	const char     *text = NULL;

	while (rest.length > 0 && pipe_macro_next(&rest, &literal, &macro)) {
		buf_append(&out, literal);
		if (macro == PIPE_MACRO_NONE)
			continue;
		if (macro <= PIPE_MACRO_MAILBOX)
			append_of_recipient(delivery, macro, &recipient->message, &out);
		else
			append_of_message(delivery, macro, &out);
	}
	/* A NUL would cut it; there is none in an envelope, but this is where it would matter. */
	if (!out.has_failed && !slice_contains_byte(buf_slice(&out), '\0'))
		text = arena_text(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

/* ---- public ---- */

const char *const *
expand_argv(const struct pipe_delivery *delivery, struct pipe_recipient *const *recipients,
            size_t count, struct arena *arena)
{
	const struct pipe_arguments *arguments = &delivery->room->arguments;
	size_t                       words = 0, made = 0;

	for (size_t i = 0; i < arguments->argc; i++)
		words += pipe_word_is_per_recipient(arguments->argv[i]) ? count : 1;
	const char **argv = arena_alloc_array(arena, words + 1, sizeof(*argv));
	if (argv == NULL)
		return NULL;
	for (size_t i = 0; i < arguments->argc; i++) {
		const char *word = arguments->argv[i];
		size_t      times = pipe_word_is_per_recipient(word) ? count : 1;

		for (size_t j = 0; j < times; j++) {
			argv[made] = expand_word(delivery, word, recipients[j], arena);
			if (argv[made++] == NULL)
				return NULL;
		}
	}
	argv[made] = NULL;
	return argv;
}

bool
expand_makes_option(const struct pipe_delivery *delivery, struct pipe_recipient *recipient,
                    struct arena *arena)
{
	const struct pipe_arguments *arguments = &delivery->room->arguments;

	for (size_t i = 1; i < arguments->argc; i++) {
		const char *word = arguments->argv[i];

		if (word[0] != '$' || pipe_word_is_per_recipient(word) != (recipient != NULL))
			continue;
		const char *text = expand_word(delivery, word, recipient, arena);
		if (text != NULL && text[0] == '-')
			return true;
	}
	return false;
}
