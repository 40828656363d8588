/* siphash.h - SipHash-2-4: a keyed hash of short texts that nobody can foretell without the key. */
#ifndef DAKIYA_QUEUE_SIPHASH_H
#define DAKIYA_QUEUE_SIPHASH_H

#include <stdint.h>

#include "lib/base/slice.h"

uint64_t siphash(const uint64_t key[2], struct slice text);

#endif
