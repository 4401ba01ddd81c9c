/* tarn_caching_pool.h: tarn's own pool: keeps freed blocks and lends them out in stream order.
 *
 * Over a provider that reserves (pages, a NUMA node, a GPU's virtual memory) the pool grows one
 * address range in place; over any other it collects segments: of 2 MiB, or of a quarter of what is
 * reserved up to 32 MiB, or of the request alone where that is larger or memory is short. Inside,
 * blocks are cut by best fit and joined with their free neighbours. Metadata lies apart from the
 * memory, which is never touched: device memory will do.
 *
 * Threads keep what they free, by stream, and take it again without a lock: each one at most a
 * quarter of what is reserved, or 1 MiB, of the CPU's memory; of what streams use a 256th, in
 * blocks of up to 32 KiB; and the block freed last. Over a provider that reserves in granules of 1
 * MiB and more memory is packed by granules: of larger blocks of a stream's a thread then keeps the
 * one that its last call with the lock lent it, for a request of the same size, and gives it back
 * with its next such call. A block that comes back so may be up to an eighth larger than what was
 * asked for, and less than a page where that was more than 1 MiB; any other is larger by less than
 * 256 bytes. What threads
 * keep is taken from them before the pool grows beyond what its live blocks have needed at once,
 * before it says that it is out of memory, by tarn_pool_trim (a keep_bytes of SIZE_MAX does nothing
 * else), and when they end. Statistics do not count it as allocated. With several threads, peaks
 * are exact only as far as the threads took the pool's lock.
 *
 * Over a provider that moves memory (tarn_cuda_virtual.h) what lies idle comes to lie where a block
 * needs it, once no stream uses it any more: where the pool would otherwise grow beyond what its
 * live blocks have needed at once, and where a limit or the machine has no more. It is not moved
 * for less, since each granule costs an unmapping, a mapping and an opening to the device.
 *
 * tarn_pool_decay gives back the least that was reserved and not lent out during a whole window of
 * options.decay_ns: each eighth of a window that has passed an eighth of what the last window did
 * not need, a call after a whole window all of it. Neither below the floor, nor what a stream may
 * still use. tarn_pool_trim leaves of what was prepared no more than keep_bytes has room for beyond
 * what stays reserved; pools that share a provider share what it has prepared, by the last word.
 *
 * What threads keep relies on membarrier(2) where the kernel grants it at the process's first use
 * of a pool; else each call has a fence of its own. A seccomp filter set later should let
 * membarrier pass: if it does not, threads that used a pool before stay without a fence, and what
 * takes their blocks relies on the interrupts by which a page is taken away, on x86-64 alone and
 * not on AMD's processors with INVLPGB. A filter set before the first use costs the fence and no
 * more.
 *
 * Budget of a pair of calls that meets a kept block: 130 instructions, 64 and 66; on a stream 189,
 * large blocks among them (callgrind, gcc 12, -O3). No atomic read-modify-write, no lock, no call
 * to the system.
 */
#ifndef TARN_CACHING_POOL_H
#define TARN_CACHING_POOL_H

#include "alloc/tarn_budget.h"
#include "alloc/tarn_out_of_memory.h"
#include "alloc/tarn_pool.h"
#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_caching_options {
  size_t struct_size;
  const char *name;     /* copied; NULL: the provider's name */
  size_t limit_bytes;   /* never reserve more than this; 0: no limit but the machine's */
  size_t segment_bytes; /* least taken from a provider that does not reserve, more as the pool
                           grows; 0: 2 MiB */
  size_t range_bytes;   /* address space per range of a provider that reserves; 0: 64 GiB */
  tarn_budget *budget;  /* retained; what the pool reserves counts there too; NULL: none */
  size_t floor_bytes;   /* trim, decay and other pools' pressure leave so much reserved; the pool's
                           own allocations may swap it for memory of another shape. Above a
                           limit_bytes that is not 0: TARN_INVALID_ARGUMENT; limits set later, and
                           those of `budget`, are not compared */
  uint64_t decay_ns;    /* the window of tarn_pool_decay; 0: 10 seconds */
  tarn_out_of_memory_function out_of_memory; /* told of each allocation that fails; NULL: none */
  void *out_of_memory_context;
  size_t prepare_bytes; /* made ahead by the provider (tarn_provider_prepare), now and again at each
                           tarn_pool_decay, as far as limits have room beyond what is reserved, so
                           that growing need not; 0: none. TARN_NOT_SUPPORTED where it cannot */
} tarn_caching_options;

/* Retains `provider`. `options` may be NULL. Blocks are multiples of 256 bytes and aligned so (what
 * DLPack asks of producers), or to the provider's alignment where that is less. */
TARN_API TARN_NODISCARD tarn_status tarn_caching_pool_create(tarn_provider *provider,
                                                             const tarn_caching_options *options,
                                                             tarn_pool **pool);

/* What follows is for caching pools; any other pool is TARN_INVALID_ARGUMENT, or NULL. */

/* The pool's own budget: its limit is the pool's (tarn_budget_set_limit changes it), what is used
 * is what the pool has reserved or is obtaining, its parent is options.budget, and pressure
 * functions registered at it are called before an allocation of the pool fails. Borrowed: it lives
 * as long as the pool, or as its own references. */
TARN_API tarn_budget *tarn_caching_pool_budget(tarn_pool *pool);

/* Obtains memory from the provider, which then waits to be lent out, until at least size_bytes are
 * reserved: for a start without growth. Give floor_bytes as well to keep it. What fails is as the
 * provider or a budget says; what was obtained before stays. */
TARN_API TARN_NODISCARD tarn_status tarn_caching_pool_reserve(tarn_pool *pool, size_t size_bytes);

#ifdef __cplusplus
}
#endif
#endif
