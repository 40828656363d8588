/*
 * clock.h - the two clocks: one for waiting (never jumps), one for the calendar.
 *
 * Time is int64_t with its unit in the name. Tests of schedulers pass times in; nothing in
 * lib/ reads a clock behind its caller's back except here and in lib/io's deadlines.
 */
#ifndef DAKIYA_BASE_CLOCK_H
#define DAKIYA_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_monotonic_ms(void); /* for deadlines and delays */
int64_t clock_monotonic_us(void);
int64_t clock_wall_us(void); /* microseconds since 1970 UTC, for ids and dates */
int64_t clock_wall_s(void);

#endif
