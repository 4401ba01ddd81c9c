/* tarn_pages.h: a provider of the operating system's pages, private and zeroed. */
#ifndef TARN_PAGES_H
#define TARN_PAGES_H

#include "alloc/tarn_provider.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_pages_huge {
  TARN_PAGES_HUGE_DEFAULT = 0, /* as TARN_PAGES_HUGE_ADVISE */
  TARN_PAGES_HUGE_NEVER = 1,   /* base pages, and the kernel is told so */
  TARN_PAGES_HUGE_ADVISE = 2,  /* transparent huge pages wherever the kernel finds them */
} tarn_pages_huge;

typedef struct tarn_pages_options {
  size_t struct_size;
  tarn_pages_huge huge;
  /* What sizes are rounded to and what is committed at a time; a power of two, at least a page.
   * 0: 64 KiB, or a page where that is more. */
  size_t granularity_bytes;
} tarn_pages_options;

/* Blocks are aligned to the granularity, large ones to 2 MiB (the huge page of x86-64 and of 64-bit
 * Arm with 4 KiB pages) unless huge pages are never wanted. Reserves: decommit gives the pages back
 * to the kernel, and an access outside of what is committed faults. `options` may be NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_pages_provider_create(const tarn_pages_options *options,
                                                               tarn_provider **provider);

#ifdef __cplusplus
}
#endif
#endif
