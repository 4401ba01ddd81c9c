/* meter.h: a provider in front of another that counts what passes: the pool's figures, checked. */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include "alloc/tarn_provider.h"

typedef struct meter_state meter_state;

typedef struct meter_reading {
  size_t held_bytes; /* handed out and not given back: blocks, and committed parts of ranges */
  size_t held_bytes_peak;
  size_t ranges_left; /* reserved address ranges not given back */
  uint64_t calls;     /* alloc, reserve, commit, decommit, move and release */
  uint64_t moved_bytes;
} meter_reading;

/* *metered forwards to `provider` and is the caller's to release; the meter outlives it, and is
 * read at any time. */
TARN_NODISCARD tarn_status meter_create(tarn_provider *provider, tarn_provider **metered,
                                        meter_state **out);
meter_reading meter_read(meter_state *meter);
void meter_destroy(meter_state *meter);

#endif
