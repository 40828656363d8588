/* notice_text.c - see notice_text.h. */
#include "lib/mail/notice_text.h"

const struct notice_text notice_texts[NOTICE_TEXT_COUNT] = {
	[NOTICE_TEXT_FAILURE] = {
		"Undelivered Mail Returned to Sender",
		"Your message did not reach everybody that you sent it to. The addresses below did not "
		"get it, each with the reason; nothing more will be tried for them.\n"
		"Please check the addresses first. If you need help, write to <postmaster> and send "
		"this report along; you may leave out your own text at its end.",
	},
	[NOTICE_TEXT_POSTMASTER] = {
		"Postmaster Copy: Undelivered Mail",
		"A notice could not be delivered to the one it was meant for, and has no sender to "
		"return to. You get it because notify_classes lists 2bounce.",
	},
	[NOTICE_TEXT_DELAY] = {
		"Delayed Mail (still being retried)",
		"THIS IS ONLY A WARNING. YOU NEED NOT SEND YOUR MESSAGE AGAIN.\n"
		"Your message has not reached the addresses below yet, each with the reason. It stays in "
		"the queue and is tried again; if that fails for good, you will be told.",
	},
	[NOTICE_TEXT_SUCCESS] = {
		"Successful Mail Delivery Report",
		"Your message reached the addresses below. You get this report because it was asked "
		"for. Where it was passed on to a host that gives no such reports, this is the last "
		"that you hear of it.",
	},
};
