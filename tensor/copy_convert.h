/* copy_convert.h: copies that convert, by the CPU. */
#ifndef TENSOR_COPY_CONVERT_H
#define TENSOR_COPY_CONVERT_H

#include "tensor/convert.h"
#include "tensor/copy_plan.h"

/* `plan` is of the conversion's two element sizes; `dst` and `src` are where its offsets count
 * from, and they share no byte. Large copies use several threads (tarn_copy_threads.h). */
void tarn__copy_convert_run(const tarn__convert *convert, const tarn__copy_plan *plan, char *dst,
                            const char *src);

/* How that would go, for people. */
typedef struct tarn__copy_convert_way {
  bool is_by_rows;   /* else by boxes, by way of packed memory */
  bool is_streaming; /* rows: written around the caches */
  int64_t box_count; /* of rows or boxes, at most so long: */
  int64_t box_elements;
  int64_t part_count; /* for the threads */
} tarn__copy_convert_way;

void tarn__copy_convert_look(const tarn__convert *convert, const tarn__copy_plan *plan,
                             int thread_count, tarn__copy_convert_way *way);

#endif
