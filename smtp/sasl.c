/* sasl.c - AUTH, client side. */
#include "smtp/smtp.h"

bool
session_authenticate(struct session *session, const struct session_plan *plan,
                     struct verdict *verdict)
{
	(void)session;
	(void)plan;
	(void)verdict;
	return true;
}
