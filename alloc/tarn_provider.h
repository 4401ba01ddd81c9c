/* tarn_provider.h: the first seam: whole blocks of memory from a machine.
 *
 * A provider is the cold path below a pool: pages of the operating system, a NUMA node, pinned
 * host memory, a GPU, a range that the caller owns. It hands out whole blocks and takes whole
 * blocks back; it knows nothing of reuse, streams or small sizes.
 *
 * A provider that can hold address space without memory behind it also reserves: a pool then grows
 * one range in place instead of collecting segments, and gives single granules back.
 *
 *     alloc ----------------------------------------------> usable block --- release
 *     reserve --> address space --- commit [a, a+n) -----> usable there  --- release (whole range)
 *                               <-- decommit [a, a+n) ---
 *
 * Some of these can also *move* memory: what lies idle in one place of their ranges comes to lie in
 * another, without going back to the machine in between, where somebody else might take it. And
 * some can *prepare* memory ahead, so that a commit only has to put it in place.
 *
 * A provider whose memory comes from something that itself reuses in the order of streams (another
 * pool) is *ordered*: its blocks may still be in use by earlier work, which the stream they were
 * asked for on is behind, and nobody else. A pool stamps such a block with that stream, whole, so
 * that another stream or the CPU gets no part of it too early.
 */
#ifndef TARN_PROVIDER_H
#define TARN_PROVIDER_H

#include "alloc/tarn_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_provider tarn_provider;
typedef struct tarn_share_memory tarn_share_memory; /* tarn_share.h */

enum {
  TARN_PROVIDER_ZEROED = 1u << 0,   /* fresh memory, committed or allocated, reads as zero */
  TARN_PROVIDER_RESERVES = 1u << 1, /* reserve, commit and decommit work */
  TARN_PROVIDER_ORDERED = 1u << 2,  /* alloc_ordered hands memory out in the order of a stream */
  /* A child of fork has no copy of the memory, but the parent's own, or none for certain: pools
   * lend none of it there. So it is with all memory that is not TARN_DEVICE_CPU, said or not. */
  TARN_PROVIDER_OF_PROCESS = 1u << 3,
  TARN_PROVIDER_MOVES = 1u << 4, /* move hands memory on without giving it back */
};

typedef struct tarn_provider_attributes {
  size_t struct_size;
  tarn_device device;       /* where the memory lies */
  size_t granularity_bytes; /* power of two; every size given to the provider is a multiple of it */
  size_t alignment_bytes;   /* power of two; every block is aligned to at least this */
  uint32_t flags;           /* TARN_PROVIDER_* */
  int32_t node;             /* operating system's NUMA node of host memory; -1 where none is said */
  /* Power of two, more than the granularity; 0: all memory comes granule by granule. Else what one
   * commit covers of whole multiples of piece_bytes may be memory in one piece each, which is
   * decommitted and moved whole or not at all. */
  size_t piece_bytes;
} tarn_provider_attributes;

/* A part of a range that has memory. */
typedef struct tarn_provider_span {
  void *address;
  size_t size_bytes;
} tarn_provider_span;

/* What an implementation fills in; alloc/examples/shared_provider.c is a whole one. `context` is
 * handed to every call. Functions may be called from any thread, several at once; tarn holds no
 * lock while it calls them. Arguments arrive checked as the calls below say, and outputs cleared,
 * which they stay where a function fails; it says why by tarn_fail. Locks of its own an
 * implementation sees through a fork by itself, where children are to use its memory.
 *
 * Required: name, attributes, alloc, release. reserve, commit and decommit come all three or not
 * at all, and go with TARN_PROVIDER_RESERVES, which move needs as well; alloc_ordered and
 * TARN_PROVIDER_ORDERED go together. destroy may be NULL. */
typedef struct tarn_provider_ops {
  size_t struct_size;
  const char *name; /* "pages", "cuda:0"; copied */
  /* Called once, when the provider is created; what it says never changes. Arrives with struct_size
   * and node -1, all else 0. */
  tarn_status (*attributes)(void *context, tarn_provider_attributes *attributes);
  /* A usable block of exactly size_bytes (> 0). TARN_OUT_OF_MEMORY where there is none: the pool
   * then tries to give something back and asks again, so it must not be sticky. */
  tarn_status (*alloc)(void *context, size_t size_bytes, void **address);
  /* Takes back a whole block of `alloc` or a whole range of `reserve` (committed or not). Nothing
   * may use it any more. */
  tarn_status (*release)(void *context, void *address, size_t size_bytes);
  tarn_status (*reserve)(void *context, size_t size_bytes, void **address);
  /* On failure nothing of [address, address + size_bytes) is committed. */
  tarn_status (*commit)(void *context, void *address, size_t size_bytes);
  tarn_status (*decommit)(void *context, void *address, size_t size_bytes);
  void (*destroy)(void *context); /* the last reference is gone, and no call is under way */
  /* Like alloc, for work enqueued on `stream` from now on; the CPU and other streams may use the
   * block only behind that. `alloc` of the same provider gives memory that nothing uses any
   * more, and release takes back only such memory. `stream` is neither NULL nor synchronous. */
  tarn_status (*alloc_ordered)(void *context, size_t size_bytes, tarn_stream *stream,
                               void **address);
  /* Tells where other processes find the block at `address` as tarn_provider_share says, or NULL:
   * they cannot. */
  tarn_status (*share)(void *context, const void *address, int *descriptor, int64_t *offset_bytes);
  /* See tarn_provider_move; goes with TARN_PROVIDER_MOVES. *taken_count is 0 already. */
  tarn_status (*move)(void *context, const tarn_provider_span *spans, size_t span_count,
                      void *address, size_t size_bytes, size_t *taken_count);
  /* See tarn_provider_prepare; NULL where nothing can be made ahead. *prepared_bytes is 0. */
  tarn_status (*prepare)(void *context, size_t size_bytes, size_t *prepared_bytes);
  /* Says how another process gets at the used bytes [address, address + size_bytes): fills in
   * kind, device, identity, offset and pieces (tarn_share_add_piece) of `memory`, whose size_bytes
   * and is_read_only are there already, and marks, or waits for, what `stream` has been given. What
   * it leaves there when it fails is closed. NULL: what `share` says is the whole of it. */
  tarn_status (*share_range)(void *context, const void *address, size_t size_bytes,
                             tarn_stream *stream, bool may_mark, tarn_share_memory *memory);
  /* Maps what another process shared, all its pieces in a row, and answers where the first begins
   * and on which device; `stream` comes behind the mark there may be, or where that is NULL or not
   * of the device's kind the calling thread does. TARN_NOT_SUPPORTED for a kind it does not know.
   * The descriptors stay the caller's. abandon takes back what adopt gave, and goes with it. */
  tarn_status (*adopt)(void *context, const tarn_share_memory *memory, tarn_stream *stream,
                       void **address, tarn_device *device);
  void (*abandon)(void *context, void *address);
} tarn_provider_ops;

/* Makes a provider of an implementation: checks that `ops` is whole, asks its attributes, and
 * completes what is optional, once. Takes `context`: ops->destroy(context) runs when the last
 * reference goes. `ops` itself is copied. TARN_INVALID_ARGUMENT says which part is missing. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_create(const tarn_provider_ops *ops,
                                                         void *context, tarn_provider **provider);

/* Shared ownership. Pools retain their provider. */
TARN_API void tarn_provider_retain(tarn_provider *provider);
TARN_API void tarn_provider_release(tarn_provider *provider);

TARN_API const char *tarn_provider_name(const tarn_provider *provider);
TARN_API const tarn_provider_attributes *tarn_provider_attributes_of(const tarn_provider *provider);

/* The seam's calls, arguments checked. size_bytes is a positive multiple of the granularity, and
 * [address, address + size_bytes) for commit and decommit lies on granules. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_alloc(tarn_provider *provider, size_t size_bytes,
                                                        void **address);
/* The same in the order of `stream`: where the provider is TARN_PROVIDER_ORDERED the block belongs
 * to work enqueued on `stream` from now on, and to anybody else behind that. Any other provider
 * gives a block that everybody may use at once, as for a NULL or synchronous stream. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_alloc_ordered(tarn_provider *provider,
                                                                size_t size_bytes,
                                                                tarn_stream *stream,
                                                                void **address);
TARN_API TARN_NODISCARD tarn_status tarn_provider_reserve(tarn_provider *provider,
                                                          size_t size_bytes, void **address);
TARN_API TARN_NODISCARD tarn_status tarn_provider_commit(tarn_provider *provider, void *address,
                                                         size_t size_bytes);
TARN_API TARN_NODISCARD tarn_status tarn_provider_decommit(tarn_provider *provider, void *address,
                                                           size_t size_bytes);
/* Commits [address, address + size_bytes) with the memory behind `spans`, which nothing uses any
 * more; what they lack is fresh, what they hold beyond goes back. The spans lie on granules, cut no
 * piece, and are disjoint. The first *taken_count of them are decommitted when it returns: all of
 * them where it succeeds; where it fails, nothing of [address, address + size_bytes) is committed,
 * and what was taken went back to the machine. A provider without TARN_PROVIDER_MOVES decommits and
 * commits. What the bytes are then, is open, TARN_PROVIDER_ZEROED or not. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_move(tarn_provider *provider,
                                                       const tarn_provider_span *spans,
                                                       size_t span_count, void *address,
                                                       size_t size_bytes, size_t *taken_count);

/* From now on memory for so many bytes, rounded down to granules, waits for commits to come, which
 * use it up; more than that goes back. Slow, for a thread that has the time. The memory is the
 * process's, though no pool reserves it and no limit counts it: *prepared_bytes, which may be NULL,
 * is how much there is, less than asked for where it fails. A commit that finds the machine's
 * memory at its end takes it too, or gives it back. 0 bytes can always be had; TARN_NOT_SUPPORTED
 * for more where the provider cannot. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_prepare(tarn_provider *provider,
                                                          size_t size_bytes,
                                                          size_t *prepared_bytes);

/* Gives a block or range back. A failure means that the machine refused it: the memory is then
 * lost to the process, and the last error says why. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_free(tarn_provider *provider, void *address,
                                                       size_t size_bytes);

/* Memory that other processes can map: a file descriptor, the caller's own to send and to close,
 * and where in that file the byte at `address` lies; the bytes behind it follow in the file as far
 * as the block goes. `address` lies in a live block or in a range, which must stay until the other
 * process has mapped it: what is released or decommitted reads as zero there from then on. Whoever
 * gets the descriptor can map everything that the provider shares. tarn_storage_import maps memory
 * files only (memfd_create) that nobody can cut short (F_SEAL_SHRINK), so a provider whose storages
 * are to be exported has such a file.
 * TARN_NOT_SUPPORTED where the provider's memory is not shared, TARN_NOT_FOUND where nothing of it
 * lies at `address`. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_share(tarn_provider *provider,
                                                        const void *address, int *descriptor,
                                                        int64_t *offset_bytes);

/* What tarn_storage_export asks of a provider: see share_range above, which this calls; a provider
 * that has `share` alone is one memory file, and the call waits for `stream`. For those who
 * implement a provider or a pool over another. */
TARN_API TARN_NODISCARD tarn_status tarn_provider_share_range(tarn_provider *provider,
                                                              const void *address,
                                                              size_t size_bytes,
                                                              tarn_stream *stream, bool may_mark,
                                                              tarn_share_memory *memory);

/* For those who implement a provider and add functions of their own to it: the context of a
 * provider whose operations have this `release`; NULL for any other provider, and for NULL. */
TARN_API void *tarn_provider_context(const tarn_provider *provider,
                                     tarn_status (*release)(void *context, void *address,
                                                            size_t size_bytes));

#ifdef __cplusplus
}
#endif
#endif
