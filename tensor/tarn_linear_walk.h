/* tarn_linear_walk.h: linear access to a tensor of any size, a chunk at a time.
 *
 *     tarn_linear_walk walk;
 *     status = tarn_linear_walk_begin(&tensor, TARN_LINEAR_READ, 0, pool, stream, &walk);
 *     while (status == TARN_OK) {
 *       status = tarn_linear_walk_next(&walk);
 *       if (status != TARN_OK || walk.data == NULL) break;
 *       use(walk.data, walk.element_count);   // first_element and on, in row-major order
 *     }
 *     ended = tarn_linear_walk_end(&walk);
 *
 * Chunks that lie in order on the host are used where they are. The others go through two staging
 * buffers: while the CPU is at work on one chunk the stream gathers the next one, and scatters the
 * one before where it was written. A stream that does everything at once (NULL among them) gathers
 * each chunk when it is asked for; so does pageable staging memory with a device, whose copies are
 * synchronous. For overlap, take staging memory from a pool of pinned memory.
 *
 * A walk borrows: the caller holds the tensor's storage, the pool and the stream from begin to end.
 * A walk is its opener's, one thread at a time. Walks and spans on one tensor stand side by side by
 * the rules of tarn_linear.h, each chunk of a walk being a span from the call of next that brings
 * it (or, for reading ahead, from the call before that one) to the next call of next or end.
 */
#ifndef TARN_LINEAR_WALK_H
#define TARN_LINEAR_WALK_H

#include "tensor/tarn_linear.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tarn_linear_walk {
  /* The chunk at hand. */
  void *data; /* host address of its first element; NULL before the first next and behind the end */
  size_t size_bytes;
  int64_t first_element; /* its place in row-major order */
  int64_t element_count;
  bool is_zero_copy; /* data is the tensor's own memory */
  /* The whole walk. */
  int64_t chunk_count;
  size_t moved_bytes; /* copied so far, reading ahead counted */
  /* Private. */
  tarn_tensor tensor;
  tarn_pool *pool;
  tarn_stream *stream;
  uint32_t access;
  int32_t split_dim;
  int64_t split_step;
  int64_t chunk_index;
  int64_t gathered_count;
  bool reads_ahead;
  bool is_pending[2];
  tarn_fence *fences[2];
  tarn_storage *staging[2];
} tarn_linear_walk;

/* Opens a walk over all elements of `tensor` in chunks of about chunk_bytes and never more, but for
 * a single larger element; 0: 4 MiB. A chunk is a range of indices of one dimension, with all of
 * the dimensions behind it. `access`, `pool`, `stream` and the errors are tarn_linear_begin's;
 * where elements lie in place it waits for what is enqueued on `stream`. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_walk_begin(const tarn_tensor *tensor,
                                                           uint32_t access, size_t chunk_bytes,
                                                           tarn_pool *pool, tarn_stream *stream,
                                                           tarn_linear_walk *walk);

/* Ends the chunk at hand, whose scatter is enqueued where it was written, and brings the next one;
 * data is NULL when there is none left. After a failure no chunk is at hand; what was written to
 * the one before may not have reached the tensor. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_walk_next(tarn_linear_walk *walk);

/* Ends the chunk at hand as next does, and the walk, at any point: chunks that were not visited
 * stay as they are. The walk is over in any case, with only moved_bytes left. Nothing happens to a
 * zeroed walk, to one that has ended, and to NULL. */
TARN_API TARN_NODISCARD tarn_status tarn_linear_walk_end(tarn_linear_walk *walk);

#ifdef __cplusplus
}
#endif
#endif
