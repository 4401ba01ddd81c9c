/* seams.h: where one page-locked memory changes into the next without a gap.
 *
 * A driver locks host memory call by call, and refuses a copy that reaches from what one call
 * locked into what another did, though the addresses go on. Memory that tarn locks with several
 * calls is noted here, and its streams cut what they enqueue at the seams. */
#ifndef TARN_SEAMS_H
#define TARN_SEAMS_H

#include "alloc/tarn_status.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct tarn__seam_range {
  struct tarn__seam_range *next;
  uintptr_t start;
  size_t size_bytes;
  size_t piece_bytes;
} tarn__seam_range;

typedef struct tarn__seams {
  pthread_mutex_t lock; /* a leaf: guards the list, no driver call under it */
  tarn__seam_range *ranges;
  /* Relaxed: who copies memory was given it after its range was counted. */
  atomic_size_t range_count;
} tarn__seams;

void tarn__seams_init(tarn__seams *self);
void tarn__seams_deinit(tarn__seams *self);

/* A seam every piece_bytes. TARN_OUT_OF_MEMORY without memory for the record. */
TARN_NODISCARD tarn_status tarn__seams_add(tarn__seams *self, const void *address,
                                           size_t size_bytes, size_t piece_bytes);
/* Does nothing where no range begins there. */
void tarn__seams_remove(tarn__seams *self, const void *address);

/* Bytes from the address to the next seam behind it; SIZE_MAX in a range that is not here. */
size_t tarn__seams_room(tarn__seams *self, const void *address);

#endif
