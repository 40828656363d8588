/* random.h - bytes from the kernel's generator; they never fail to come once the system is up. */
#ifndef DAKIYA_BASE_RANDOM_H
#define DAKIYA_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t length);
/* Even over 0 .. below - 1; below must be greater than 0. */
uint32_t random_below(uint32_t below);

#endif
