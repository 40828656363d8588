/*
 * library.h - what both users of libsasl2 (authd as server, smtp as client) tell it at start.
 *
 * Once a process, before sasl_server_init or sasl_client_init and before threads start.
 */
#ifndef DAKIYA_SASL_LIBRARY_H
#define DAKIYA_SASL_LIBRARY_H

/* Locks of ours: libsasl2 has none of its own, and its calls come from several threads. */
void sasl_library_use_mutexes(void);

#endif
