/* command.c - see command.h. */
#include "lib/smtp/command.h"

#include "lib/base/encode.h"
#include "lib/base/number.h"
#include "lib/smtp/extensions.h"

static const char *const verb_names[] = {
#define VERB(identifier, spelling) spelling,
	SMTP_VERBS(VERB)
#undef VERB
};

bool
smtp_line_take(struct slice input, struct slice *line, size_t *length, bool *is_bare)
{
	size_t newline = slice_find_byte(input, '\n');

	if (newline == SLICE_NOT_FOUND)
		return false;
	*is_bare = newline == 0 || input.data[newline - 1] != '\r';
	*line = slice_first(input, *is_bare ? newline : newline - 1);
	*length = newline + 1;
	return true;
}

static bool
is_plain_text(struct slice line)
{
	for (size_t i = 0; i < line.length; i++)
		if (ascii_is_control(line.data[i]) && line.data[i] != '\t')
			return false;
	return true;
}

bool
smtp_command_parse(struct slice line, struct smtp_command *command)
{
	struct slice text = slice_trim(line);
	size_t       end = 0;

	if (text.length == 0 || !is_plain_text(line))
		return false;
	while (end < text.length && !ascii_is_blank(text.data[end]))
		end++;
	struct slice word = slice_first(text, end);
	unsigned     verb = 0;
	while (verb < SMTP_VERB_UNKNOWN && !slice_equal_fold(word, slice_from(verb_names[verb])))
		verb++;
	*command = (struct smtp_command){
		.verb = (enum smtp_verb)verb,
		.word = word,
		.arguments = slice_trim(slice_from_offset(text, end)),
	};
	return true;
}

const char *
smtp_verb_name(enum smtp_verb verb)
{
	return verb < SMTP_VERB_UNKNOWN ? verb_names[verb] : "UNKNOWN";
}

/* ---- MAIL and RCPT ---- */

/* What the functions for parameters work on. */
struct parameter_target {
	struct smtp_mail  *mail;
	struct smtp_rcpt  *rcpt;
	struct arena      *arena;
	struct smtp_reply *refusal;
};

static bool
refuse(struct smtp_reply *refusal, int code, struct enhanced_status status, const char *text)
{
	*refusal = (struct smtp_reply){ code, status, slice_from(text) };
	return false;
}

static bool
refuse_syntax(struct smtp_reply *refusal, const char *text)
{
	return refuse(refusal, 501, (struct enhanced_status){ 5, 5, 4 }, text);
}

static bool
refuse_no_room(struct smtp_reply *refusal)
{
	return refuse(refusal, 452, (struct enhanced_status){ 4, 3, 1 },
	              "Insufficient system storage");
}

/* An address that cannot be read, which without memory is no fault of the client's. */
static bool
refuse_address(struct smtp_reply *refusal, const struct arena *arena, struct enhanced_status status,
               const char *text)
{
	return arena->has_failed ? refuse_no_room(refusal) : refuse(refusal, 501, status, text);
}

/* xtext without control bytes into the arena, which knows when it was memory that failed. */
static bool
take_xtext(struct slice text, size_t most, struct arena *arena, struct slice *decoded)
{
	struct buf out = BUF(most);

	/* Decoded it is no longer than this, so what fails from here on is the text's fault. */
	arena->has_failed |= !buf_reserve_some(&out, text.length);
	bool is_good = xtext_decode(text, &out) && !slice_has_control(buf_slice(&out));
	if (is_good) {
		*decoded = arena_copy(arena, buf_slice(&out));
		is_good = decoded->data != NULL;
	}
	buf_free(&out);
	return is_good;
}

static bool
take_size(struct parameter_target *target, struct slice value)
{
	size_t digits = 0;

	if (number_parse(value, 0, INT64_MAX, &target->mail->size))
		return true;
	/* Up to 20 digits (RFC 1870 3): also what is above our numbers is a size, too large a one.
	 */
	while (digits < value.length && ascii_is_digit(value.data[digits]))
		digits++;
	if (digits == 0 || digits < value.length || digits > 20)
		return refuse_syntax(target->refusal, "Bad message size syntax");
	target->mail->size = INT64_MAX;
	return true;
}

static bool
take_body(struct parameter_target *target, struct slice value)
{
	if (slice_equal_fold(value, SLICE("8BITMIME")))
		target->mail->body = SMTP_BODY_8BITMIME;
	else if (slice_equal_fold(value, SLICE("7BIT")))
		target->mail->body = SMTP_BODY_7BIT;
	else
		return refuse_syntax(target->refusal, "Bad BODY parameter syntax");
	return true;
}

static bool
take_smtputf8(struct parameter_target *target, struct slice value)
{
	if (value.data != NULL)
		return refuse_syntax(target->refusal, "Bad SMTPUTF8 parameter syntax");
	target->mail->is_smtputf8 = true;
	return true;
}

static bool
take_ret(struct parameter_target *target, struct slice value)
{
	bool is_full = slice_equal_fold(value, SLICE("FULL"));

	if (target->mail->ret != 0 || (!is_full && !slice_equal_fold(value, SLICE("HDRS"))))
		return refuse_syntax(target->refusal, "Bad RET parameter syntax");
	target->mail->ret = is_full ? 1 : 2;
	return true;
}

static bool
take_envid(struct parameter_target *target, struct slice value)
{
	if (target->mail->envid.length > 0 || value.length == 0 ||
	    !take_xtext(value, SMTP_ENVID_MOST, target->arena, &target->mail->envid))
		return refuse_syntax(target->refusal, "Bad ENVID parameter syntax");
	return true;
}

static bool
take_auth(struct parameter_target *target, struct slice value)
{
	target->mail->has_auth = true;
	if (slice_equal(value, SLICE("<>")))
		return true;
	if (value.length == 0 || !take_xtext(value, 320, target->arena, &target->mail->auth))
		return refuse_syntax(target->refusal, "Bad AUTH parameter syntax");
	return true;
}

/* Postfix's: without a value the default delimiters. Which ones there may be the server knows. */
static bool
take_verp(struct parameter_target *target, struct slice value)
{
	if (target->mail->has_verp || (value.data != NULL && value.length != 2))
		return refuse_syntax(target->refusal, "Bad XVERP parameter syntax");
	target->mail->has_verp = true;
	target->mail->verp = arena_copy(target->arena, value);
	return target->mail->verp.data != NULL || refuse_no_room(target->refusal);
}

/* RFC 3461 4.1; the bits are those of lib/queue/envelope.h, a floor above. */
static bool
take_notify(struct parameter_target *target, struct slice value)
{
	static const char *const words[] = { "NEVER", "SUCCESS", "FAILURE", "DELAY" };
	struct slice             word;
	uint32_t                 notify = 0;

	while (slice_next_part(&value, ',', &word)) {
		unsigned i = 0;
		while (i < 4 && !slice_equal_fold(word, slice_from(words[i])))
			i++;
		notify |= 1u << i;
	}
	if (target->rcpt->notify != 0 || notify == 0 || notify >= 16 ||
	    ((notify & 1) != 0 && notify != 1))
		return refuse_syntax(target->refusal, "Bad NOTIFY parameter syntax");
	target->rcpt->notify = notify;
	return true;
}

/* "type;xtext", kept as "type;address" (RFC 3461 4.2). RFC 6533's utf-8 addresses are kept encoded.
 */
static bool
take_orcpt(struct parameter_target *target, struct slice value)
{
	size_t       colon = slice_find_byte(value, ';');
	struct slice address;
	bool is_good = target->rcpt->orcpt.length == 0 && colon != SLICE_NOT_FOUND && colon > 0 &&
	               colon <= 40 && colon + 1 < value.length;

	for (size_t i = 0; is_good && i < colon; i++)
		is_good = ascii_is_alnum(value.data[i]) || value.data[i] == '-';
	address = slice_from_offset(value, colon + 1);
	/* UTF-8 as it is has no xtext (RFC 6533 3, utf-8-addr-unitext). */
	if (is_good && !slice_is_ascii(address) &&
	    slice_equal_fold(slice_first(value, colon), SLICE("utf-8")))
		is_good = address.length <= SMTP_ORCPT_MOST && slice_is_utf8(address) &&
		          !slice_has_control(address);
	else
		is_good = is_good && take_xtext(address, SMTP_ORCPT_MOST, target->arena, &address);
	if (!is_good)
		return refuse_syntax(target->refusal, "Bad ORCPT parameter syntax");
	char *text = arena_alloc(target->arena, colon + 1 + address.length);
	if (text == NULL)
		return refuse_no_room(target->refusal);
	memcpy(text, value.data, colon + 1);
	memcpy(text + colon + 1, address.data, address.length);
	target->rcpt->orcpt = slice_of(text, colon + 1 + address.length);
	return true;
}

/* One row a parameter: keyword, the extension that brings it, what takes its value. */
struct parameter_rule {
	const char *keyword;
	unsigned    extension;
	/* value.data is NULL when there was no '='. */
	bool (*take)(struct parameter_target *target, struct slice value);
};

static const struct parameter_rule mail_rules[] = {
	{ "SIZE", SMTP_SIZE, take_size },   { "BODY", SMTP_8BITMIME, take_body },
	{ "RET", SMTP_DSN, take_ret },      { "ENVID", SMTP_DSN, take_envid },
	{ "AUTH", SMTP_AUTH, take_auth },   { "SMTPUTF8", SMTP_SMTPUTF8, take_smtputf8 },
	{ "XVERP", SMTP_XVERP, take_verp }, { NULL, 0, NULL },
};
static const struct parameter_rule rcpt_rules[] = {
	{ "NOTIFY", SMTP_DSN, take_notify },
	{ "ORCPT", SMTP_DSN, take_orcpt },
	{ NULL, 0, NULL },
};

static bool
parameter_parse(struct slice word, const struct parameter_rule *rules, unsigned extensions,
                struct parameter_target *target)
{
	size_t       equals = slice_find_byte(word, '=');
	struct slice keyword = equals == SLICE_NOT_FOUND ? word : slice_first(word, equals);
	struct slice value = equals == SLICE_NOT_FOUND
	                             ? slice_of(NULL, 0)
	                             : slice_of(word.data + equals + 1, word.length - equals - 1);

	for (; rules->keyword != NULL; rules++)
		if ((extensions & rules->extension) != 0 &&
		    slice_equal_fold(keyword, slice_from(rules->keyword)))
			return rules->take(target, value);

	/* The keyword comes back only when it is one (esmtp-keyword): nothing else is echoed. */
	bool is_keyword = keyword.length > 0 && keyword.length <= 40;
	for (size_t i = 0; is_keyword && i < keyword.length; i++)
		is_keyword = ascii_is_alnum(keyword.data[i]) || keyword.data[i] == '-';
	const char *text = is_keyword ? arena_format(target->arena, "Unsupported option: %.*s",
	                                             SLICE_ARGS(keyword))
	                              : "Unsupported option";
	if (text == NULL)
		return refuse_no_room(target->refusal);
	return refuse(target->refusal, 555, (struct enhanced_status){ 5, 5, 4 }, text);
}

/* "FROM:" or "TO:" off the arguments. */
static bool
take_prefix(struct slice *arguments, struct slice prefix)
{
	if (!slice_starts_with_fold(*arguments, prefix))
		return false;
	*arguments = slice_from_offset(*arguments, prefix.length);
	return true;
}

static bool
join_address(const struct address *address, struct arena *arena, struct slice *joined)
{
	char *text;

	/* "a@b" in quotes and without domain would read as another address. */
	if (address->domain.length == 0 && slice_contains_byte(address->local, '@'))
		return false;
	if (address->domain.length == 0)
		text = arena_format(arena, "%.*s", SLICE_ARGS(address->local));
	else
		text = arena_format(arena, "%.*s@%.*s", SLICE_ARGS(address->local),
		                    SLICE_ARGS(address->domain));
	*joined = slice_from(text);
	return text != NULL;
}

bool
smtp_mail_parse(struct slice arguments, const struct smtp_grammar *grammar, struct arena *arena,
                struct smtp_mail *mail, struct smtp_reply *refusal)
{
	struct smtp_mail        parsed = { .sender = SLICE_EMPTY, .envid = SLICE_EMPTY };
	struct parameter_target target = { &parsed, NULL, arena, refusal };
	bool                    allow_utf8 = (grammar->extensions & SMTP_SMTPUTF8) != 0;
	struct address          address;
	struct slice            rest, word;

	parsed.auth = parsed.verp = SLICE_EMPTY;
	if (!take_prefix(&arguments, SLICE("FROM:")))
		return refuse_syntax(refusal, "Syntax: MAIL FROM:<address>");
	if (!address_parse_path(arguments, allow_utf8, grammar->is_strict, arena, &address,
	                        &rest) ||
	    !join_address(&address, arena, &parsed.sender))
		return refuse_address(refusal, arena, (struct enhanced_status){ 5, 1, 7 },
		                      "Bad sender address syntax");
	while (slice_next_word(&rest, " \t", &word))
		if (!parameter_parse(word, mail_rules, grammar->extensions, &target))
			return arena->has_failed ? refuse_no_room(refusal) : false;
	if (!slice_is_ascii(parsed.sender) && !parsed.is_smtputf8)
		return refuse(refusal, 553, (struct enhanced_status){ 5, 6, 7 },
		              "Must declare SMTPUTF8 to send unicode address");
	*mail = parsed;
	return true;
}

bool
smtp_rcpt_parse(struct slice arguments, const struct smtp_grammar *grammar, struct arena *arena,
                struct smtp_rcpt *rcpt, struct smtp_reply *refusal)
{
	struct smtp_rcpt        parsed = { .recipient = SLICE_EMPTY, .orcpt = SLICE_EMPTY };
	struct parameter_target target = { NULL, &parsed, arena, refusal };
	bool                    allow_utf8 = (grammar->extensions & SMTP_SMTPUTF8) != 0;
	struct address          address;
	struct slice            rest, word;

	if (!take_prefix(&arguments, SLICE("TO:")))
		return refuse_syntax(refusal, "Syntax: RCPT TO:<address>");
	if (!address_parse_path(arguments, allow_utf8, grammar->is_strict, arena, &address,
	                        &rest) ||
	    address.local.length == 0 || !join_address(&address, arena, &parsed.recipient))
		return refuse_address(refusal, arena, (struct enhanced_status){ 5, 1, 3 },
		                      "Bad recipient address syntax");
	while (slice_next_word(&rest, " \t", &word))
		if (!parameter_parse(word, rcpt_rules, grammar->extensions, &target))
			return arena->has_failed ? refuse_no_room(refusal) : false;
	*rcpt = parsed;
	return true;
}

bool
smtp_bdat_parse(struct slice arguments, uint64_t *size, bool *is_last)
{
	struct slice number, word;
	int64_t      value;

	if (!slice_next_word(&arguments, " \t", &number) ||
	    !number_parse(number, 0, INT64_MAX, &value))
		return false;
	bool has_last = slice_next_word(&arguments, " \t", &word);
	if (has_last &&
	    (!slice_equal_fold(word, SLICE("LAST")) || slice_next_word(&arguments, " \t", &word)))
		return false;
	*size = (uint64_t)value;
	*is_last = has_last;
	return true;
}
