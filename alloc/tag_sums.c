/* tag_sums.c: sums live bytes by tag, and sorts the sums. */
#include "alloc/tag_sums.h"

void tarn__tag_sums_add(tarn__tag_sums *sums, uint32_t tag, size_t size_bytes) {
  TARN_ASSERT(tag < TARN_TAGS_MAX);
  sums->size_bytes[tag] += size_bytes;
  sums->block_count[tag]++;
}

size_t tarn__tag_sums_list(const tarn__tag_sums *sums, tarn_holder *holders, size_t capacity) {
  size_t count = 0;
  for (uint32_t tag = 0; tag < TARN_TAGS_MAX; tag++) {
    if (sums->block_count[tag] == 0) continue;
    size_t at = count < capacity ? count : capacity;
    count++;
    while (at > 0 && holders[at - 1].size_bytes < sums->size_bytes[tag]) {
      if (at < capacity) holders[at] = holders[at - 1];
      at--;
    }
    if (at < capacity) {
      holders[at] = (tarn_holder){
          .tag = tag, .size_bytes = sums->size_bytes[tag], .block_count = sums->block_count[tag]};
    }
  }
  return count;
}
