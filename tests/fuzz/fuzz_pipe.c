/* fuzz_pipe.c - what pipe makes of a message and of addresses: lines as flags ask, no options. */
/* links: pipe/expand.c pipe/content.c */
#include <stdlib.h>
#include <string.h>

#include "pipe/pipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char words[] = "user=a argv=/bin/x ${recipient} ${sender} -f ${user} a${domain} "
			    "${extension} ${mailbox} ${original_recipient} ${nexthop}";

static void
read_all(struct pipe_delivery *delivery, struct buf *out)
{
	struct pipe_content content;
	struct slice        piece;

	if (!pipe_content_init(&content, delivery, &delivery->recipients[0]))
		abort();
	do {
		if (!pipe_content_next(&content, &piece, NULL))
			abort();
		buf_append(out, piece);
	} while (piece.length > 0);
	pipe_content_free(&content);
}

/* Without flags as content.h converts it; with them no line begins as it must not. */
static void
check_content(struct pipe_delivery *delivery, struct slice content)
{
	struct content_count count = { 0 };
	struct buf           plain = BUF(1u << 20), expected = BUF(1u << 20), safe = BUF(1u << 20);
	struct slice         line;

	content_convert(&count, content, &expected);
	content_finish(&count, &expected);
	delivery->room->arguments.flags = 0;
	read_all(delivery, &plain);
	if (!slice_equal(buf_slice(&plain), buf_slice(&expected)))
		abort();
	delivery->room->arguments.flags = PIPE_DOTS | PIPE_FROM_QUOTE;
	read_all(delivery, &safe);
	struct slice rest = buf_slice(&safe);
	while (slice_next_part(&rest, '\n', &line))
		if (slice_starts_with(line, SLICE("From ")) ||
		    (slice_starts_with(line, SLICE(".")) && !slice_starts_with(line, SLICE(".."))))
			abort();
	buf_free(&plain);
	buf_free(&expected);
	buf_free(&safe);
}

/* Each word is there once, and begins with - only where master.cf says so, or is found out. */
static void
check_addresses(struct pipe_delivery *delivery)
{
	struct arena           arena = ARENA(1u << 20);
	struct pipe_recipient *list[] = { &delivery->recipients[0] };

	bool makes_option = expand_makes_option(delivery, NULL, &arena) ||
	                    expand_makes_option(delivery, list[0], &arena);
	const char *const *argv = expand_argv(delivery, list, 1, &arena);
	for (size_t i = 0; argv != NULL && i < delivery->room->arguments.argc; i++) {
		if (argv[i] == NULL)
			abort();
		if (argv[i][0] == '-' && delivery->room->arguments.argv[i][0] != '-' &&
		    !makes_option)
			abort();
	}
	if (argv != NULL && argv[delivery->room->arguments.argc] != NULL)
		abort();
	arena_reset(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice         input = slice_of((const char *)data, size), first, second;
	struct report        report = REPORT_NONE;
	struct pipe_room     room = { .delimiters = "+-", .service = "list" };
	struct agent_job     job = { .message.file = -1 };
	struct pipe_delivery delivery = { .room = &room, .job = &job, .count = 1 };

	if (size < 2 || size > 60000 || !slice_next_part(&input, '\n', &first) ||
	    !slice_next_part(&input, '\n', &second))
		return 0;
	struct pipe_recipient *recipient = calloc(1, sizeof(*recipient));
	delivery.recipients = recipient;
	if (recipient == NULL ||
	    !pipe_arguments_parse(slice_from(words), "m", 1, &room.arena, &room.arguments, &report))
		abort();
	recipient->message.address = first;
	job.envelope.sender = second;
	job.message.content = input;
	for (unsigned flags = 0; flags < 8; flags++) {
		room.arguments.flags = (flags & 1 ? PIPE_FOLD_DOMAIN : 0) |
		                       (flags & 2 ? PIPE_FOLD_LOCAL : 0) |
		                       (flags & 4 ? PIPE_QUOTE : 0);
		check_addresses(&delivery);
	}
	if (!slice_has_control(first) && !slice_has_control(second))
		check_content(&delivery, input);
	free(recipient);
	arena_reset(&room.arena);
	report_free(&report);
	return 0;
}
