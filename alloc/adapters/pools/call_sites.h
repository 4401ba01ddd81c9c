/* call_sites.h: the places in the code that calls come from, each kept once and known by a number.
 *
 * To unwind a stack takes microseconds. So where each return address lay is kept with it, counted
 * from the frame of the function that asks: a call from a place that was seen before is recognised
 * by its return addresses, which are all read and compared where they lay then. What the comparison
 * stands on: a function's frame is as large at the same place in it. Where that is not so (alloca
 * with another size) an old address at the old place would have to look like a caller's.
 *
 *     cache   | site | site | ...     by the first return address and where the frame lies
 *     index   number -> site          sites by their number, in blocks; none goes before the end
 *     buckets hash -> site -> site    each once
 *
 * No locks: two threads that see a place for the first time at once may make two sites of it. */
#ifndef TARN_CALL_SITES_PRIVATE_H
#define TARN_CALL_SITES_PRIVATE_H

#include <stdatomic.h>

#include "alloc/tarn_base.h"

enum {
  TARN__SITE_CACHE = 4096,
  TARN__SITE_BUCKETS = 1024,
  TARN__SITE_INDEX = 512,       /* blocks, */
  TARN__SITE_INDEX_BLOCK = 512, /* each of so many */
  TARN__SITE_NUMBERS = TARN__SITE_INDEX * TARN__SITE_INDEX_BLOCK,
  TARN__SITE_KNOWN = 2, /* a first and a last address */
};

typedef struct tarn__call_frame {
  void *return_address;
  uintptr_t offset; /* from the asking function's frame to where the address lies */
} tarn__call_frame;

typedef struct tarn__call_site {
  struct tarn__call_site *next;
  uint64_t hash;
  uint32_t number;
  uint32_t tag;
  uint32_t frame_count;
  bool is_readable; /* every return address lies where it says */
  tarn__call_frame frames[];
} tarn__call_site;

typedef struct tarn__site_block {
  _Atomic(const tarn__call_site *) sites[TARN__SITE_INDEX_BLOCK];
} tarn__site_block;

/* A zeroed struct has none. */
typedef struct tarn__call_sites {
  _Atomic(const tarn__call_site *) cache[TARN__SITE_CACHE];
  _Atomic(tarn__call_site *) buckets[TARN__SITE_BUCKETS];
  _Atomic(tarn__site_block *) index[TARN__SITE_INDEX];
  atomic_uint number_count;
} tarn__call_sites;

void tarn__call_sites_deinit(tarn__call_sites *sites);

/* The place that called the function whose frame (__builtin_frame_address(0), in a function that is
 * not inlined) is `frame`, with up to `depth` return addresses and the tag. NULL: there is no
 * memory for a new one. Where there are TARN__SITE_NUMBERS already, all further ones are the last,
 * which has neither addresses nor tag.
 *
 * `known` belongs to the calling thread, zeroes at first: from where to where the stack was unwound
 * that it used last. Nothing else is read, so that a coroutine's stack is unwound when it is
 * entered, and may go before another one asks. NULL: nothing is recognised. */
const tarn__call_site *tarn__call_sites_find(tarn__call_sites *sites, void *frame, uint32_t depth,
                                             uint32_t tag,
                                             atomic_uintptr_t known[TARN__SITE_KNOWN]);

/* The site with that number, from those that were found. */
const tarn__call_site *tarn__call_sites_at(const tarn__call_sites *sites, uint32_t number);

#endif
