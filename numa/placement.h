/* placement.h: what the other files of numa/ may do with a placement that is resolved. */
#ifndef TARN_NUMA_PLACEMENT_H
#define TARN_NUMA_PLACEMENT_H

#include "numa/tarn_placement.h"

/* Binds as tarn_placement_apply does, for ranges that nothing was touched in; whether there is room
 * for them is the caller's to know. room_bytes[i] is how much of nodes[i] ORDER may use; NULL: what
 * the kernel tells. `granted` may be NULL. */
tarn_status tarn__placement_bind(const tarn_topology *topology,
                                 const tarn_placement_resolved *resolved, const size_t *room_bytes,
                                 void *address, size_t size_bytes, tarn_placement_granted *granted);

/* A stretch of addresses that one of the nodes has in turn. */
typedef struct tarn__stripe {
  size_t size_bytes;
  int32_t index; /* into resolved->nodes */
} tarn__stripe;

/* STRIPES: the first stretch of a range. Whose turn it is follows from the address alone, so that a
 * range may be bound in parts:
 *
 *     addresses, in stripes   | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
 *     weights 3 and 1         |     a     | b |     a     | b |
 */
tarn__stripe tarn__placement_stripe(const tarn_placement_resolved *resolved, uintptr_t address,
                                    size_t size_bytes);
/* Sets stripe_bytes: wished, or the least that is useful, or more, so that size_bytes have no more
 * than TARN_PLACEMENT_PIECES_MAX pieces. False where the numbers overflow. */
bool tarn__placement_choose_stripe(tarn_placement_resolved *resolved, size_t wished_bytes,
                                   size_t size_bytes);

enum { TARN__PLACEMENT_HUGE_BYTES = 2 << 20 }; /* pieces leave room for transparent huge pages */

#endif
