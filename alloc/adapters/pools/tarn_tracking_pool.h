/* tarn_tracking_pool.h: an adaptor over a pool: who holds what, by the places in the code.
 *
 * Each block is known with the return addresses of the calls that led to its allocation, and a
 * report sums what is still lent out by them, most bytes first:
 *
 *     tracking over pages: 3 blocks, 20480 bytes
 *     16384 bytes in 2 blocks, tag kv cache, one at 0x7f3c4a200000
 *         0x55d0c8a2f4c1 grow_cache+0x31 (/usr/bin/server+0x4f4c1)
 *         0x55d0c8a2e0aa answer+0x9a (/usr/bin/server+0x4e0aa)
 *     4096 bytes in 1 block, one at 0x7f3c4a204000
 *         ...
 *
 * At the end of a program, or of a piece of work that was to give everything back, that is the list
 * of its leaks. The first addresses may be tarn's own. Names are those that the dynamic linker
 * knows (link with -rdynamic for a program's own); `addr2line -e FILE OFFSET` says the line for
 * what is in parentheses. tarn_limit_pool.h says what all adaptors share.
 *
 * The addresses are found by the compiler's unwinder, which takes 1 to 3 microseconds with the
 * default depth, for each place once: it is kept until the pool's end, with where on the stack each
 * address lay, and a call that finds all of them there again is from the same place. So a place is
 * mistaken where a function's frame has another size than before (alloca), and an old address by
 * chance lies just where the caller's lay then. An allocation from a known place and its free took
 * 34 nanoseconds. 4096 places, or one place on as many threads, are recognised at a time; others
 * are unwound again, and so is what comes first after a thread has changed to another stack, as
 * coroutines do, and every call on machines that keep return addresses elsewhere than x86 does.
 * Beyond 262143 places, blocks are told of without addresses and tags. */
#ifndef TARN_TRACKING_POOL_H
#define TARN_TRACKING_POOL_H

#include "alloc/tarn_pool_snapshot.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TARN_TRACKING_DEPTH_MAX = 32,
  TARN_TRACKING_DEPTH_DEFAULT = 12,
};

typedef struct tarn_tracking_pool_options {
  size_t struct_size;
  const char *name; /* copied; NULL: "tracking over <the upstream's name>" */
  uint32_t depth;   /* return addresses of a block, 8 bytes each; 0: TARN_TRACKING_DEPTH_DEFAULT, at
                       most TARN_TRACKING_DEPTH_MAX */
} tarn_tracking_pool_options;

/* `options` may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_tracking_pool_create(
    tarn_pool *upstream, const tarn_tracking_pool_options *options, tarn_pool **pool);

/* Writes what is lent out now, as above: blocks of one place and one tag (tarn_tag.h) together. It
 * is copied first (32 bytes a block), as item 5 of tarn_limit_pool.h says of a snapshot, and
 * `write` may use the pool. TARN_OUT_OF_MEMORY where there is no room for the copy;
 * TARN_INVALID_ARGUMENT for a pool of another kind. */
TARN_API TARN_NODISCARD tarn_status tarn_tracking_pool_report(tarn_pool *pool,
                                                              tarn_write_function write,
                                                              void *context);

#ifdef __cplusplus
}
#endif
#endif
