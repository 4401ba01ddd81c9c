/* test_callbacks_posix.c: malloc and its kin over a pool, by hand and with zlib as the client. */
#include "tests/adapters/callbacks/test_callbacks.h"
#include "tests/support/pools.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static tarn_callbacks *plain_callbacks;
TARN_CALLBACKS_DEFINE_PLAIN(plain, plain_callbacks)

typedef struct heap {
  tarn_pool *pool;
  tarn_callbacks *callbacks;
} heap;

static heap make_heap(size_t limit_bytes) {
  heap made = {.pool = callbacks_test_pool(limit_bytes)};
  assert_ok(tarn_callbacks_create(made.pool, NULL, &made.callbacks));
  return made;
}

static void drop_heap(heap *self) {
  callbacks_test_settled(self->pool, self->callbacks);
  tarn_callbacks_destroy(self->callbacks);
  tarn_pool_release(self->pool);
}

TEST(calloc_clears_what_others_left_and_knows_its_limits) {
  heap own = make_heap(0);
  char *block = tarn_callbacks_malloc(own.callbacks, 5000);
  memset(block, 7, 5000);
  tarn_callbacks_posix_free(own.callbacks, block);
  char *again = tarn_callbacks_calloc(own.callbacks, 50, 100);
  assert_ptr_equal(again, block);
  for (int i = 0; i < 5000; i++) assert_int_equal(again[i], 0);
  assert_null(tarn_callbacks_calloc(own.callbacks, SIZE_MAX / 2, 3));
  assert_int_equal(tarn_last_error()->status, TARN_TOO_LARGE);
  tarn_callbacks_posix_free(own.callbacks, again);
  drop_heap(&own);
}

TEST(blocks_of_no_bytes_are_blocks_of_their_own) {
  heap own = make_heap(0);
  void *blocks[] = {tarn_callbacks_malloc(own.callbacks, 0),
                    tarn_callbacks_calloc(own.callbacks, 0, 4),
                    tarn_callbacks_aligned_alloc(own.callbacks, 4096, 0),
                    tarn_callbacks_realloc(own.callbacks, NULL, 0)};
  for (int i = 0; i < 4; i++) {
    assert_non_null(blocks[i]);
    for (int k = 0; k < i; k++) assert_ptr_not_equal(blocks[i], blocks[k]);
  }
  blocks[0] = tarn_callbacks_realloc(own.callbacks, blocks[0], 0);
  assert_non_null(blocks[0]);
  for (int i = 0; i < 4; i++) tarn_callbacks_posix_free(own.callbacks, blocks[i]);
  tarn_callbacks_posix_free(own.callbacks, NULL);
  drop_heap(&own);
}

TEST(aligned_blocks_are_aligned) {
  heap own = make_heap(0);
  for (size_t alignment = 1; alignment <= 1 << 16; alignment *= 4) {
    void *block = tarn_callbacks_aligned_alloc(own.callbacks, alignment, 100);
    assert_int_equal((uintptr_t)block % alignment, 0);
    tarn_callbacks_posix_free(own.callbacks, block);
  }
  assert_null(tarn_callbacks_aligned_alloc(own.callbacks, 48, 100));
  assert_int_equal(tarn_last_error()->status, TARN_INVALID_ARGUMENT);
  drop_heap(&own);
}

TEST(contents_move_with_a_block_that_grows_and_shrinks) {
  heap own = make_heap(0);
  unsigned char *block = NULL;
  size_t old_bytes = 0;
  uint64_t random = 11;
  for (int i = 0; i < 300; i++) {
    const size_t size_bytes = 1 + test_random(&random) % (i % 10 == 0 ? 1 << 20 : 3000);
    block = tarn_callbacks_realloc(own.callbacks, block, size_bytes);
    assert_non_null(block);
    const size_t kept_bytes = old_bytes < size_bytes ? old_bytes : size_bytes;
    for (size_t k = 0; k < kept_bytes; k++) assert_int_equal(block[k], (unsigned char)(k * 7));
    for (size_t k = 0; k < size_bytes; k++) block[k] = (unsigned char)(k * 7);
    old_bytes = size_bytes;
  }
  tarn_callbacks_posix_free(own.callbacks, block);
  drop_heap(&own);
}

TEST(a_block_stays_within_its_size_and_whole_where_there_is_no_memory) {
  heap own = make_heap(4 << 20);
  char *block = tarn_callbacks_malloc(own.callbacks, 3 << 20);
  memset(block, 9, 3 << 20);
  assert_ptr_equal(tarn_callbacks_realloc(own.callbacks, block, 2 << 20), block);
  assert_ptr_equal(tarn_callbacks_realloc(own.callbacks, block, 3 << 20), block);
  assert_null(tarn_callbacks_realloc(own.callbacks, block, 5 << 20));
  assert_int_equal(tarn_last_error()->status, TARN_OUT_OF_MEMORY);
  for (int i = 0; i < 3 << 20; i += 4096) assert_int_equal(block[i], 9);
  void *rest = tarn_callbacks_malloc(own.callbacks, 900 << 10);
  /* It cannot move to a place that gives memory back, so it stays. */
  assert_ptr_equal(tarn_callbacks_realloc(own.callbacks, block, 1 << 20), block);
  assert_null(tarn_callbacks_realloc(own.callbacks, &own, 10));
  assert_int_equal(tarn_last_error()->status, TARN_NOT_FOUND);
  tarn_callbacks_posix_free(own.callbacks, rest);
  block = tarn_callbacks_realloc(own.callbacks, block, 1000);
  assert_non_null(block);
  tarn_pool_stats stats = stats_of(own.pool);
  assert_true(stats.allocated_bytes < 1 << 20); /* what was not needed is back */
  tarn_callbacks_posix_free(own.callbacks, block);
  drop_heap(&own);
}

TEST(plain_functions_use_the_callbacks_of_their_expression) {
  heap own = make_heap(0);
  plain_callbacks = own.callbacks;
  char *block = plain_malloc(10), *other = plain_calloc(2, 5);
  block = plain_realloc(block, 10000);
  void *aligned = plain_aligned_alloc(512, 3);
  tarn_pool_stats stats = stats_of(own.pool);
  assert_int_equal(stats.alloc_count, 4);
  plain_free(block);
  plain_free(other);
  plain_free(aligned);
  drop_heap(&own);
}

/* zlib's functions take two numbers of 32 bits, so its user has to widen them. */
static voidpf zlib_alloc(voidpf callbacks, uInt count, uInt size_bytes) {
  return tarn_callbacks_calloc(callbacks, count, size_bytes);
}

static void zlib_free(voidpf callbacks, voidpf address) {
  tarn_callbacks_posix_free(callbacks, address);
}

static z_stream zlib_over(const heap *own) {
  return (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = own->callbacks};
}

TEST(zlib_packs_and_unpacks_in_a_pool) {
  heap own = make_heap(0);
  enum { TEXT_BYTES = 300000 };
  unsigned char *text = malloc(TEXT_BYTES), *packed = malloc(TEXT_BYTES),
                *read = malloc(TEXT_BYTES);
  for (int i = 0; i < TEXT_BYTES; i++) text[i] = (unsigned char)(i / 100 * (i % 7));
  z_stream out = zlib_over(&own), in = zlib_over(&own);
  assert_int_equal(deflateInit(&out, 6), Z_OK);
  out.next_in = text, out.avail_in = TEXT_BYTES;
  out.next_out = packed, out.avail_out = TEXT_BYTES;
  assert_int_equal(deflate(&out, Z_FINISH), Z_STREAM_END);
  assert_int_equal(inflateInit(&in), Z_OK);
  in.next_in = packed, in.avail_in = (uInt)out.total_out;
  in.next_out = read, in.avail_out = TEXT_BYTES;
  assert_int_equal(inflate(&in, Z_FINISH), Z_STREAM_END);
  assert_memory_equal(read, text, TEXT_BYTES);
  tarn_pool_stats stats = stats_of(own.pool);
  assert_true(stats.allocated_bytes > 100 << 10); /* its windows and tables */
  deflateEnd(&out);
  inflateEnd(&in);
  free(text);
  free(packed);
  free(read);
  drop_heap(&own);
}

TEST(zlib_says_that_a_pool_has_no_memory) {
  heap own = make_heap(4096);
  z_stream out = zlib_over(&own);
  assert_int_equal(deflateInit(&out, 6), Z_MEM_ERROR);
  drop_heap(&own);
}

int run_callbacks_posix_tests(void) {
  return run_listed_tests(NULL, NULL);
}
