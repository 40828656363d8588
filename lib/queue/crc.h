/* crc.h - CRC-32C (Castagnoli, RFC 3720 B.4) of queue records; by the processor where it can. */
#ifndef DAKIYA_QUEUE_CRC_H
#define DAKIYA_QUEUE_CRC_H

#include <stdint.h>

#include "lib/base/slice.h"

/* Continues from an earlier result; start with 0. */
uint32_t crc32c(uint32_t crc, struct slice bytes);

#endif
