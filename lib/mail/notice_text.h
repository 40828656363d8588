/*
 * notice_text.h - the words of delivery status notifications, for bounce and for dakconf -t.
 */
#ifndef DAKIYA_MAIL_NOTICE_TEXT_H
#define DAKIYA_MAIL_NOTICE_TEXT_H

enum notice_text_kind {
	NOTICE_TEXT_FAILURE,
	NOTICE_TEXT_POSTMASTER, /* about a notice that could not be delivered */
	NOTICE_TEXT_DELAY,
	NOTICE_TEXT_SUCCESS,
	NOTICE_TEXT_COUNT,
};

struct notice_text {
	const char *subject;
	const char *introduction; /* paragraphs, '\n' between them */
};

extern const struct notice_text notice_texts[NOTICE_TEXT_COUNT];

#endif
