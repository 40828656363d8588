/*
 * sha256.h - SHA-256 (FIPS 180-4) of bytes in memory: no allocation, no failure.
 *
 * For processes that need one digest and nothing else of OpenSSL, which costs each of them 0.5 MB:
 * mailbox workers, of which a host has one for each user. No secrets: it takes no care of them.
 */
#ifndef DAKIYA_BASE_SHA256_H
#define DAKIYA_BASE_SHA256_H

#include "lib/base/slice.h"

#define SHA256_BYTES 32

void sha256(struct slice bytes, unsigned char digest[SHA256_BYTES]);

#endif
