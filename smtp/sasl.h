/*
 * sasl.h - libsasl2's client side: loaded once, before the doors close and before threads start.
 */
#ifndef DAKIYA_SMTP_SASL_H
#define DAKIYA_SMTP_SASL_H

#include "smtp/smtp.h"

/* Loads the mechanisms; only with smtp_sasl_auth_enable. */
bool sasl_library_start(struct error *error);

#endif
