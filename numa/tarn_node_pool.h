/* tarn_node_pool.h: small and many blocks on one memory node, by a jemalloc of tarn's own.
 *
 * jemalloc's arenas, their memory from one provider, as a pool: its packing and its speed, in
 * memory that lies where it was asked for. The process's malloc is not touched, and the settings
 * that people give to their jemalloc (MALLOC_CONF, /etc/malloc.conf) are not read.
 *
 * In front of jemalloc each thread keeps what it freed last, in stacks by size class: four classes
 * per doubling from 64 bytes on, jemalloc's own. A pair of calls on one thread then takes no lock
 * and no atomic read-modify-write, whatever the size: 11 to 13 ns where jemalloc's takes 5 to 700.
 * A thread keeps at most 64 blocks of a class, 8 of a large one, and 1 MiB or an eighth of what the
 * pool has lent out, with the block freed last on top. What threads keep goes back by trim, by
 * decay, before an allocation fails, and when the thread ends. It relies on membarrier(2) as
 * tarn_barrier.h says.
 *
 * A block freed in the order of a stream that has not passed yet is held back until it has. Blocks
 * are not zeroed. What is known of a block lies beside the memory and never in it: 2 bytes per 64
 * where small blocks are, 8 bytes per 4 KiB.
 *
 * After fork the child may use the pool; what other threads kept at that moment goes back there by
 * trim. A fork waits for a trim that is under way.
 */
#ifndef TARN_NODE_POOL_H
#define TARN_NODE_POOL_H

#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"
#include "numa/tarn_topology.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TARN_NODE_POOL_ARENAS_MAX = 64 };

typedef struct tarn_node_pool_options {
  size_t struct_size;
  const char *name; /* NULL: "jemalloc:" and the node's number, or the provider's name */
  int32_t node;     /* operating system's number */
  /* The memory, instead of pages bound strictly to `node`: any of the host's that reserves, such as
   * a node provider that interleaves, or one of huge pages. Retained. NULL: the node's. */
  tarn_provider *provider;
  /* Of jemalloc: threads take them in turn, and meet less often the more there are; memory that is
   * idle in one is not lent by another. At most TARN_NODE_POOL_ARENAS_MAX; 0: one for each 8
   * processors that are online, at most 8. */
  uint32_t arena_count;
  size_t limit_bytes; /* that the pool may hold of its provider's memory; 0: no limit */
  uint64_t decay_ns;  /* the window of tarn_pool_decay; 0: 10 seconds */
} tarn_node_pool_options;

/* `options` may be NULL: node 0. With a provider the topology is not needed and may be NULL.
 * TARN_UNAVAILABLE where the node does not exist or the topology is not this machine's;
 * TARN_NOT_SUPPORTED for a provider that does not reserve or is not the host's, and where jemalloc
 * has no arena left: a process has 4094, for all pools together. It has as many caches of its own,
 * one for each thread that uses a pool; a thread that gets none any more works without, slower.
 *
 * tarn_pool_decay gives back all that is idle, once a whole window has passed in which more than an
 * eighth of what the pool holds was never lent out, or nothing was. */
TARN_API TARN_NODISCARD tarn_status tarn_node_pool_create(tarn_topology *topology,
                                                          const tarn_node_pool_options *options,
                                                          tarn_pool **pool);

/* Bytes of a pool, as jemalloc counts them and as tarn does. Whenever no call is under way in it,
 *
 *   small_bytes + large_bytes = lent_bytes + held_bytes + kept_bytes + cached_bytes
 *
 * where the left side is jemalloc's; cached_bytes is what is left of it, and 0 once the pool was
 * trimmed and nothing was freed since. */
typedef struct tarn_node_pool_stats {
  size_t struct_size;
  uint32_t arena_count;
  size_t lent_bytes;      /* tarn_pool_stats.allocated_bytes */
  size_t held_bytes;      /* freed, and not yet passed by a stream */
  size_t kept_bytes;      /* by threads, in front of jemalloc */
  size_t cached_bytes;    /* by jemalloc's own caches */
  size_t small_bytes;     /* in blocks that share pages */
  size_t large_bytes;     /* in blocks with pages of their own */
  size_t active_bytes;    /* pages of these */
  size_t dirty_bytes;     /* idle pages with memory behind them */
  size_t retained_bytes;  /* address space without */
  size_t metadata_bytes;  /* jemalloc's own records, not of the provider's memory */
  size_t committed_bytes; /* tarn_pool_stats.reserved_bytes */
} tarn_node_pool_stats;

/* The caller sets stats->struct_size. TARN_INVALID_ARGUMENT for a pool of another kind;
 * TARN_NOT_SUPPORTED where jemalloc was built without statistics. Takes some microseconds for each
 * arena of the process. */
TARN_API TARN_NODISCARD tarn_status tarn_node_pool_stats_of(tarn_pool *pool,
                                                            tarn_node_pool_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
