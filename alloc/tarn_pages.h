/* tarn_pages.h: a provider of the operating system's pages, zeroed: private or shared, small or
 * huge, made when touched or before, pageable or locked. */
#ifndef TARN_PAGES_H
#define TARN_PAGES_H

#include "alloc/tarn_provider.h"
#include "alloc/tarn_touch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_pages_huge {
  TARN_PAGES_HUGE_DEFAULT = 0, /* as TARN_PAGES_HUGE_ADVISE */
  TARN_PAGES_HUGE_NEVER = 1,   /* base pages, and the kernel is told so */
  TARN_PAGES_HUGE_ADVISE = 2,  /* transparent huge pages wherever the kernel finds them */
} tarn_pages_huge;

enum {
  /* Every page is made before the call returns, as `touch` says; without it a page is made when it
   * is first written. */
  TARN_PAGES_POPULATE = 1u << 0,
  /* Pages stay in memory once they are made (mlock2, MLOCK_ONFAULT). A process may lock only so
   * much (`ulimit -l`): over the limit is TARN_OUT_OF_MEMORY, no right at all TARN_UNAVAILABLE. */
  TARN_PAGES_LOCK = 1u << 1,
  /* Memory is not charged to what the system may promise (overcommit_memory) before it is touched.
   * Without it, a commit that exceeds that is TARN_OUT_OF_MEMORY. */
  TARN_PAGES_NORESERVE = 1u << 2,
  /* Another process can map the same pages: tarn_provider_share. A forked child shares them as
   * well, instead of getting a copy; they stay its parent's: in the child the provider gives
   * nothing (TARN_NOT_SUPPORTED), and a release there unmaps them and no more. Under
   * overcommit_memory 2 they are populated, since a later touch could end in SIGBUS. */
  TARN_PAGES_SHARED = 1u << 3,
};

typedef struct tarn_pages_options {
  size_t struct_size;
  tarn_pages_huge huge;
  /* What sizes are rounded to and what is committed at a time; a power of two, at least a page.
   * 0: 64 KiB, or a page where that is more. */
  size_t granularity_bytes;
  /* 0: base pages, with transparent huge pages as `huge` says. Otherwise explicit huge pages of
   * this size (2 MiB and 1 GiB on x86-64), from the pool that the administrator set aside; the
   * granularity is at least that, and `huge` means nothing. They are taken and zeroed when memory
   * is committed, whatever the flags: where the pool has too few, also on the only node that they
   * may come from, that is TARN_OUT_OF_MEMORY and never a SIGBUS later. NORESERVE cannot go with
   * them. They need no LOCK. A forked child gets copies while the pool has pages; a child that
   * finds none is killed by the kernel, its parent never. */
  size_t page_bytes;
  uint32_t flags; /* TARN_PAGES_* */
  /* How pages are made where that happens before the first use; its page_bytes is not looked at.
   * Copied, the list of processors too. NULL: the defaults of tarn_touch. */
  const tarn_touch_options *touch;
  /* Called for memory that has just become usable, before the first of its pages is made: the place
   * to say on which node they shall lie (mbind). A failure is passed on, and undoes the commit.
   * NULL: nothing is called. */
  tarn_status (*place)(void *context, void *address, size_t size_bytes);
  void *place_context; /* outlives the provider */
} tarn_pages_options;

/* Blocks are aligned to the granularity, large ones to 2 MiB (the huge page of x86-64 and of 64-bit
 * Arm with 4 KiB pages) unless huge pages are never wanted. Reserves: decommit gives the pages back
 * to the kernel, and an access outside of what is committed faults. Explicit huge pages reserve
 * where the kernel can move them (Linux 5.16). `options` may be NULL.
 *
 * TARN_UNAVAILABLE where the machine has no pool of pages of page_bytes, or an empty one that may
 * not grow; the message names the file that sets its size. */
TARN_API TARN_NODISCARD tarn_status tarn_pages_provider_create(const tarn_pages_options *options,
                                                               tarn_provider **provider);

/* What the kernel made of a range. */
typedef struct tarn_pages_state {
  size_t struct_size;
  /* Of the pages: the explicit size; that of transparent huge pages where all that is in memory
   * lies in such; else base pages, some of which may be joined to transparent ones (huge_bytes). */
  size_t page_bytes;
  size_t resident_bytes; /* in memory now */
  size_t huge_bytes;     /* of them, mapped by pages of 2 MiB and more, transparent or explicit */
  size_t locked_bytes; /* of the range, in mappings whose pages stay in memory: locked, explicit */
  /* False: the kernel (before 6.7) tells huge_bytes of whole mappings only, and the range is part
   * of one: there may be less. */
  bool is_exact;
} tarn_pages_state;

/* How much of a range is in memory now: what was touched and not swapped out; a page that was only
 * read is not (before Linux 6.7 it is), nor one that is not mapped. Walks the range's page tables,
 * some nanoseconds a page, and less where nothing is. */
TARN_API TARN_NODISCARD tarn_status tarn_pages_resident(const void *address, size_t size_bytes,
                                                        size_t *resident_bytes);

/* Asks the kernel; the caller sets state->struct_size. For reports and tests: it walks the mappings
 * of the process, some milliseconds where there are many. TARN_INVALID_ARGUMENT where part of the
 * range is not mapped, TARN_NOT_SUPPORTED without /proc. */
TARN_API TARN_NODISCARD tarn_status tarn_pages_inspect(const void *address, size_t size_bytes,
                                                       tarn_pages_state *state);

#ifdef __cplusplus
}
#endif
#endif
