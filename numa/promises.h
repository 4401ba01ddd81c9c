/* promises.h: memory of nodes that was given strictly and has no pages yet.
 *
 *     what the kernel has free of a node     |########################################|
 *     promised to ranges, not yet touched    |     provider a    |  b  |
 *     a new strict commit must fit in here                             |<-- less a margin -->|
 *
 * A touch takes a page from the free ones and from the promised ones at once, so that the sum stays
 * right without anybody being told. How much of a promise was touched is asked of the kernel where
 * it matters only: while there is plenty of room, a commit costs no call.
 */
#ifndef TARN_NUMA_PROMISES_H
#define TARN_NUMA_PROMISES_H

#include "numa/tarn_placement.h"

/* Those of one provider. All of them in a process know of each other; a forked child starts with
 * none. */
typedef struct tarn__promises tarn__promises;

/* `topology` outlives it; `resolved` is strict. */
tarn_status tarn__promises_create(const tarn_topology *topology,
                                  const tarn_placement_resolved *resolved,
                                  tarn__promises **promises);
void tarn__promises_destroy(tarn__promises *promises);

/* Promises a range, which nothing is touched in, placed by `resolved`: as the one given before, but
 * for stripe_bytes. room_bytes[i] is then what of resolved->nodes[i] is left for it, SIZE_MAX where
 * that was not looked at. TARN_OUT_OF_MEMORY where the nodes or the control group lack the room,
 * after all that is promised, and nothing is promised then. */
tarn_status tarn__promises_add(tarn__promises *promises, const tarn_placement_resolved *resolved,
                               void *address, size_t size_bytes, size_t *room_bytes);

/* How a range that was added lies on the nodes, as it turned out: later ranges are believed to lie
 * likewise. */
void tarn__promises_learn(tarn__promises *promises, const size_t *node_bytes);

/* The range is given back, or all of it is touched. */
void tarn__promises_drop(tarn__promises *promises, void *address, size_t size_bytes);

#endif
