/* tarn_driver_pool.h: the CUDA driver's own pool behind the pool seam.
 *
 * A CUmemoryPool of its own, never the device's default one, lends by cuMemAllocFromPoolAsync and
 * takes back by cuMemFreeAsync. Sizes are rounded to 512 bytes, and an alignment beyond 256 costs
 * as many bytes more. Its statistics mean what those of other pools mean: what is reserved, and the
 * peak of that, is what the driver says; what is active may be less than what was freed behind
 * streams, where the driver has lent that out again behind them. It records traces (without s and
 * r), gives snapshots (of what is lent out), counts tags, and explains when it has no memory.
 *
 * In numbered sentences:
 *
 * 1. Memory for a stream of the device is lent and freed in that stream's order. For NULL and any
 *    other stream it is lent at once, which waits for the driver; with TARN_CUDA_POOL_ADD_WAITS for
 *    other streams' work too, perhaps, else never.
 * 2. A free behind several streams (the one it was lent to, the one it is freed on, those noted)
 *    goes to a stream of the pool's own that waits for them all: no stream of the caller's is made
 *    to wait. Unlike other pools it calls the driver to free, and records an event behind every
 *    free; where one of the streams is of another kind, it waits for that.
 * 3. Out of memory: what is pending is waited for (not with TARN_CUDA_POOL_NEVER_WAITS), all that
 *    is idle goes back, pressure functions are called, and the driver is asked once more.
 * 4. On a captured stream it lends nothing: TARN_NOT_SUPPORTED, before the driver sees the call.
 *    The driver would make an allocation node there: memory of the graph, not of this pool, that no
 *    limit, trim or figure of the pool reaches (cuDeviceGraphMemTrim does, for all graphs at once),
 *    that is there between its two nodes only, and that forbids another launch while it was not
 *    freed. So a block would not stay valid from launch to launch, as tarn_capture.h promises. A
 *    caching pool lends in captures.
 * 5. A block that is noted or freed on a captured stream, or freed while a stream that used it is
 *    captured, stays the capture's until that is destroyed, as sentence 5 of tarn_capture.h says.
 *    Where tarn was not told of the capture, the free answers TARN_NOT_SUPPORTED, and the block is
 *    still lent out.
 * 6. tarn_pool_decay trims the pool, once in decay_ns, to the most that was in use at once since
 *    the time before.
 * 7. The pool keeps streams alive until it has seen them pass, for which it looks at their events
 *    when its statistics are asked for, when it is trimmed, and before it is out of memory: the
 *    streams themselves may be captured, or closed and gone, by then. */
#ifndef TARN_DRIVER_POOL_H
#define TARN_DRIVER_POOL_H

#include "alloc/tarn_budget.h"
#include "alloc/tarn_out_of_memory.h"
#include "alloc/tarn_pool.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_cuda tarn_cuda;

enum {
  TARN_CUDA_POOL_NO_EVENT_REUSE = 1u << 0,     /* not behind events that order two streams */
  TARN_CUDA_POOL_NO_COMPLETED_REUSE = 1u << 1, /* not because the driver sees that it is done */
  TARN_CUDA_POOL_ADD_WAITS = 1u << 2,          /* the driver may make streams wait for others */
  /* Out of memory comes without a wait for streams: their work may wait for what the thread that
   * allocates has yet to enqueue, as a collective operation's does. */
  TARN_CUDA_POOL_NEVER_WAITS = 1u << 3,
};

typedef struct tarn_cuda_driver_pool_options {
  size_t struct_size;
  const char *name;               /* copied; NULL: "cuda:0 driver" */
  size_t limit_bytes;             /* never lend more; 0: no limit but the device's. Drivers since
                                     CUDA 12.2 reserve no more either, rounded up to 2 MiB */
  size_t release_threshold_bytes; /* what stays reserved when the host waits for a stream, an event
                                     or the context; 0: everything, until it is trimmed */
  uint32_t flags;                 /* TARN_CUDA_POOL_*: how streams may reuse each other's frees */
  int32_t peer_count;             /* of `peers` */
  const int32_t *peers;           /* devices let in to all of it, see tarn_cuda_share.h */
  uint64_t decay_ns;              /* the window of tarn_pool_decay; 0: 10 seconds */
  tarn_budget *budget;            /* retained; what the driver has reserved for the pool counts
                                     there; NULL: none. The driver says so afterwards and takes more
                                     than is asked for (32 MiB at a time, often): where the budget
                                     has no room for that it goes back, and the allocation fails.
                                     Costs each allocation one more call of the driver's */
  tarn_out_of_memory_function out_of_memory; /* told of each allocation that fails; NULL: none */
  void *out_of_memory_context;
} tarn_cuda_driver_pool_options;

/* `options` may be NULL. TARN_NOT_SUPPORTED where the driver or the device has no memory pools. */
TARN_API TARN_NODISCARD tarn_status
tarn_cuda_driver_pool_create(tarn_cuda *cuda, int32_t device,
                             const tarn_cuda_driver_pool_options *options, tarn_pool **pool);

#ifdef __cplusplus
}
#endif
#endif
