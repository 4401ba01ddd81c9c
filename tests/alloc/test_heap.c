/* test_heap.c: the caching pool's bookkeeping: who finds what, what is joined, and the sums. */
#include "tests/support/test.h"

#include "alloc/heap.h"
#include "tests/support/manual_stream.h"

enum { SEGMENT_BYTES = 1 << 16 };

static char *const BASE = (char *)(uintptr_t)0x40000000; /* an address only: never followed */

static tarn_stream *a;
static tarn_stream *b;

static int make_streams(void **state) {
  (void)state;
  return manual_stream_create(&a) != TARN_OK || manual_stream_create(&b) != TARN_OK;
}

static int release_streams(void **state) {
  (void)state;
  tarn_stream_release(a);
  tarn_stream_release(b);
  return 0;
}

static tarn__block *lend(tarn__heap *heap, size_t size_bytes, const tarn_stream *stream) {
  tarn__block *block = tarn__heap_find(heap, size_bytes, stream, NULL);
  if (block == NULL) return NULL;
  tarn__heap_claim(block);
  return tarn__heap_lend(heap, block, size_bytes, 256, size_bytes);
}

static tarn__block *give(tarn__heap *heap, tarn__block *block, const tarn_stream *stream) {
  if (stream != NULL) assert_true(tarn__stamps_add(&block->stamps, tarn__order_stamp(stream)));
  tarn__heap_take_back(heap, block);
  return tarn__heap_put_free(heap, block);
}

static size_t largest_free_bytes(const tarn__heap *heap) {
  size_t largest = 0;
  for (const tarn__segment *segment = heap->segments; segment != NULL; segment = segment->next) {
    for (const tarn__block *block = segment->first; block != NULL; block = block->right) {
      const bool is_larger = block->state == TARN__BLOCK_FREE && block->size_bytes > largest;
      if (is_larger) largest = block->size_bytes;
    }
  }
  return largest;
}

static void drop(tarn__heap *heap) {
  while (heap->segments != NULL) tarn__heap_remove_segment(heap, heap->segments);
  assert_int_equal(heap->reserved_bytes, 0);
}

TEST(a_stream_finds_its_own_and_the_clean_and_sees_the_rest_as_pending) {
  static tarn__heap heap;
  assert_non_null(tarn__heap_add_segment(&heap, BASE, SEGMENT_BYTES, TARN__BLOCK_FREE));
  tarn__block *of_a = lend(&heap, 4096, a);
  tarn__block *of_b = lend(&heap, 4096, b);
  tarn__block *rest = lend(&heap, SEGMENT_BYTES - 8192, NULL);
  of_a = give(&heap, of_a, a);
  of_b = give(&heap, of_b, b);
  tarn__block *pending = NULL;
  assert_ptr_equal(tarn__heap_find(&heap, 4096, a, &pending), of_a);
  assert_null(pending);
  assert_ptr_equal(tarn__heap_find(&heap, 4096, b, NULL), of_b);
  assert_null(tarn__heap_find(&heap, 4096, NULL, &pending));
  assert_ptr_equal(pending, of_a);
  assert_null(tarn__heap_find(&heap, 8192, a, &pending));
  assert_null(pending);
  assert_int_equal(tarn__heap_pending_bytes(&heap), 8192);
  assert_true(tarn__heap_join_all(&heap, false));
  assert_int_equal(largest_free_bytes(&heap), 8192);
  assert_null(tarn__heap_find(&heap, 8192, a, &pending));
  assert_int_equal(pending->stamps.count, 2);
  tarn__heap_validate(&heap);
  give(&heap, rest, NULL);
  drop(&heap);
}

/* Taken from another stream's share, memory is soon missed there. */
TEST(a_stream_takes_of_its_own_before_what_it_may_take_of_others) {
  static tarn__heap heap;
  assert_non_null(tarn__heap_add_segment(&heap, BASE, SEGMENT_BYTES, TARN__BLOCK_FREE));
  tarn__block *of_a = lend(&heap, 8192, a);
  tarn__block *between = lend(&heap, 256, a);
  tarn__block *of_b = lend(&heap, 4096, b);
  tarn__block *rest = lend(&heap, SEGMENT_BYTES - 8192 - 256 - 4096, NULL);
  of_a = give(&heap, of_a, a);
  of_b = give(&heap, of_b, b);
  tarn__order_knows(a, tarn__order_close_ticket(b));
  assert_ptr_equal(tarn__heap_find(&heap, 4096, a, NULL), of_a);
  tarn__heap_claim(of_a);
  assert_ptr_equal(tarn__heap_find(&heap, 4096, a, NULL), of_b);
  tarn__heap_put_free(&heap, of_a);
  give(&heap, between, NULL);
  give(&heap, rest, NULL);
  drop(&heap);
}

TEST(live_blocks_are_found_by_start_and_by_inside) {
  static tarn__heap heap;
  assert_non_null(tarn__heap_add_segment(&heap, BASE, SEGMENT_BYTES, TARN__BLOCK_FREE));
  tarn__block *first = lend(&heap, 512, NULL);
  tarn__block *second = lend(&heap, 1024, NULL);
  assert_ptr_equal(tarn__heap_live_at(&heap, BASE), first);
  assert_ptr_equal(tarn__heap_live_at(&heap, BASE + 512), second);
  assert_null(tarn__heap_live_at(&heap, BASE + 256));
  assert_ptr_equal(tarn__heap_live_around(&heap, BASE + 511), first);
  assert_ptr_equal(tarn__heap_live_around(&heap, BASE + 1535), second);
  assert_null(tarn__heap_live_around(&heap, BASE + 1536));
  assert_null(tarn__heap_live_around(&heap, BASE - 1));
  give(&heap, first, NULL);
  give(&heap, second, NULL);
  assert_int_equal(largest_free_bytes(&heap), SEGMENT_BYTES);
  drop(&heap);
}

TEST(an_aligned_block_leaves_its_lead_free) {
  static tarn__heap heap;
  assert_non_null(tarn__heap_add_segment(&heap, BASE + 256, SEGMENT_BYTES, TARN__BLOCK_FREE));
  tarn__block *block = tarn__heap_find(&heap, 8192, NULL, NULL);
  tarn__heap_claim(block);
  block = tarn__heap_lend(&heap, block, 512, 4096, 500);
  assert_ptr_equal(block->address, BASE + 4096);
  assert_int_equal(heap.requested_bytes, 500);
  assert_int_equal(heap.allocated_bytes, 512);
  assert_ptr_equal(lend(&heap, 3840, NULL)->address, BASE + 256);
  tarn__heap_validate(&heap);
  give(&heap, tarn__heap_live_at(&heap, BASE + 256), NULL);
  give(&heap, block, NULL);
  drop(&heap);
}

TEST(holes_are_joined_and_not_reserved) {
  static tarn__heap heap;
  tarn__block *hole = tarn__heap_add_segment(&heap, BASE, SEGMENT_BYTES, TARN__BLOCK_HOLE);
  assert_non_null(hole);
  assert_int_equal(heap.reserved_bytes, 0);
  assert_null(tarn__heap_find(&heap, 256, NULL, NULL));
  tarn__heap_claim(hole);
  tarn__block *middle = tarn__block_split(hole, 4096);
  tarn__block *end = tarn__block_split(middle, 4096);
  tarn__heap_put_hole(&heap, hole);
  tarn__heap_put_hole(&heap, end);
  heap.reserved_bytes += 4096;
  middle = tarn__heap_put_free(&heap, middle);
  tarn__heap_validate(&heap);
  tarn__heap_claim(middle);
  heap.reserved_bytes -= 4096;
  assert_ptr_equal(tarn__heap_put_hole(&heap, middle), heap.segments->first);
  assert_int_equal(heap.segments->first->size_bytes, SEGMENT_BYTES);
  assert_null(heap.segments->first->right);
  drop(&heap);
}

TEST(random_use_keeps_the_sums_right) {
  static tarn__heap heap;
  enum { LIVE_MAX = 64 };
  tarn__block *live[LIVE_MAX] = {NULL};
  const tarn_stream *streams[] = {NULL, a, b};
  uint64_t random = 11;
  assert_non_null(tarn__heap_add_segment(&heap, BASE, SEGMENT_BYTES, TARN__BLOCK_FREE));
  assert_non_null(
      tarn__heap_add_segment(&heap, BASE + 2 * SEGMENT_BYTES, SEGMENT_BYTES, TARN__BLOCK_FREE));
  for (int step = 0; step < 20000; step++) {
    const tarn_stream *stream = streams[test_random(&random) % COUNT_OF(streams)];
    tarn__block **slot = &live[test_random(&random) % LIVE_MAX];
    if (*slot != NULL) {
      give(&heap, *slot, stream);
      *slot = NULL;
    } else {
      *slot = lend(&heap, 256 * (1 + test_random(&random) % 32), stream);
    }
    if (step % 16 == 0) tarn__heap_validate(&heap);
    if (step % 4096 == 0) tarn__heap_join_all(&heap, false);
  }
  for (int index = 0; index < LIVE_MAX; index++) {
    if (live[index] != NULL) give(&heap, live[index], NULL);
  }
  tarn__heap_join_all(&heap, false);
  tarn__heap_validate(&heap);
  assert_int_equal(heap.allocated_bytes, 0);
  assert_int_equal(largest_free_bytes(&heap), SEGMENT_BYTES);
  drop(&heap);
}

int main(void) {
  return run_listed_tests(make_streams, release_streams);
}
