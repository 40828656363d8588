/* fuzz_smtp_command.c - command lines and their parameters: nothing of ours may break on any bytes.
 */
#include <assert.h>
#include <stdint.h>

#include "lib/smtp/command.h"
#include "lib/smtp/extensions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_address(struct slice address)
{
	/* What goes into envelopes and logs holds no line ends and no NUL. */
	assert(!slice_contains_byte(address, '\r') && !slice_contains_byte(address, '\n') &&
	       !slice_contains_byte(address, '\0'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice        input = slice_of((const char *)data, size), line;
	size_t              length;
	bool                is_bare, is_last;
	struct smtp_command command;
	uint64_t            chunk;

	while (smtp_line_take(input, &line, &length, &is_bare)) {
		struct arena        arena = ARENA(64u * 1024);
		struct smtp_reply   refusal;
		struct smtp_mail    mail;
		struct smtp_rcpt    rcpt;
		struct smtp_grammar grammar = { 0xffff, (line.length & 1) != 0 };

		assert(length > 0 && length <= input.length);
		if (smtp_command_parse(line, &command)) {
			if (smtp_mail_parse(command.arguments, &grammar, &arena, &mail, &refusal)) {
				check_address(mail.sender);
				check_address(mail.envid);
				assert(mail.size >= 0);
			}
			if (smtp_rcpt_parse(command.arguments, &grammar, &arena, &rcpt, &refusal)) {
				check_address(rcpt.recipient);
				check_address(rcpt.orcpt);
				assert(rcpt.recipient.length > 0);
			}
			(void)smtp_bdat_parse(command.arguments, &chunk, &is_last);
		}
		arena_reset(&arena);
		input = slice_from_offset(input, length);
	}
	return 0;
}
