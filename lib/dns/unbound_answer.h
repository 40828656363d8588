/*
 * unbound_answer.h - what libunbound found, as the dns_answer that goes to the asker.
 *
 * RFC 1035 3.2-3.4 (rdata), 2782 (SRV), 6698 (TLSA), 8659 (CAA). Every length is checked again
 * here: records shorter than their type, or with names that are no names, are left out.
 */
#ifndef DAKIYA_DNS_UNBOUND_ANSWER_H
#define DAKIYA_DNS_UNBOUND_ANSWER_H

#include <unbound.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/dns/dns.h"
#include "lib/ipc/messages.h"

/* Types that may be asked for. */
bool unbound_type_is_known(uint32_t type);

/*
 * One record from its rdata (names not compressed); its slices lie in the arena or in rdata.
 * False when rdata is not well-formed for the type, or the arena is full.
 */
bool unbound_record_parse(enum dns_type type, struct slice rdata, struct arena *arena,
                          struct msg_dns_record *record);

/*
 * Fills all of *message but id. Its slices lie in the arena, in *records (cleared first; its
 * limit bounds the answer) and in result.
 */
void unbound_answer(const struct ub_result *result, struct arena *arena, struct buf *records,
                    struct msg_dns_answer *message);

#endif
