/* tag_sums.h: live bytes by tag, and the rows that name those who hold the most. */
#ifndef TARN_TAG_SUMS_H
#define TARN_TAG_SUMS_H

#include "alloc/tarn_pool_snapshot.h"
#include "alloc/tarn_tag.h"

typedef struct tarn__tag_sums {
  size_t size_bytes[TARN_TAGS_MAX];
  size_t block_count[TARN_TAGS_MAX];
} tarn__tag_sums;

void tarn__tag_sums_add(tarn__tag_sums *sums, uint32_t tag, size_t size_bytes);
/* The rows with the most bytes, in order; returns how many there are in all. */
size_t tarn__tag_sums_list(const tarn__tag_sums *sums, tarn_holder *holders, size_t capacity);

#endif
