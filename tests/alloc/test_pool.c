/* test_pool.c: the pool seam: what an implementation must bring, and how long a pool lives. */
#include "tests/support/pools.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_pool.h"

typedef struct plain {
  int destroyed_count;
  int lent_count;
  tarn_pool *closed;
  size_t last_alignment;
} plain;

static tarn_status plain_attributes(void *context, tarn_pool_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->alignment_bytes = 16;
  return TARN_OK;
}

static tarn_status plain_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                               tarn_stream *stream, void **address) {
  (void)stream;
  ((plain *)context)->last_alignment = alignment_bytes;
  *address = malloc(size_bytes);
  return *address != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "malloc");
}

static tarn_status plain_free(void *context, void *address, tarn_stream *stream) {
  (void)context;
  (void)stream;
  free(address);
  return TARN_OK;
}

static tarn_status plain_note_use(void *context, void *address, tarn_stream *stream) {
  (void)context;
  (void)address;
  (void)stream;
  return TARN_OK;
}

static tarn_status plain_stats(void *context, tarn_pool_stats *stats) {
  (void)context;
  stats->alloc_count = 5;
  return TARN_OK;
}

static void plain_destroy(void *context) {
  ((plain *)context)->destroyed_count++;
}

static tarn_pool_ops plain_ops(void) {
  return (tarn_pool_ops){.struct_size = sizeof(tarn_pool_ops),
                         .name = "plain",
                         .attributes = plain_attributes,
                         .alloc = plain_alloc,
                         .free = plain_free,
                         .note_use = plain_note_use,
                         .stats = plain_stats,
                         .destroy = plain_destroy};
}

TEST(a_pool_of_ones_own_lives_until_its_last_block_is_back) {
  plain self = {0};
  const tarn_pool_ops ops = plain_ops();
  tarn_pool *pool = NULL;
  void *address = NULL;
  size_t released = 77;
  assert_ok(tarn_pool_create(&ops, &self, &pool));
  assert_string_equal(tarn_pool_name(pool), "plain");
  assert_int_equal(tarn_pool_attributes_of(pool)->alignment_bytes, 16);
  assert_ok(tarn_pool_alloc_aligned(pool, 100, 64, NULL, &address));
  assert_int_equal(self.last_alignment, 64);
  assert_ok(tarn_pool_trim(pool, 0, &released)); /* completed: gives back nothing */
  assert_int_equal(released, 0);
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.alloc_count, 5);
  tarn_pool_retain(pool);
  tarn_pool_release(pool);
  tarn_pool_release(pool);
  assert_int_equal(self.destroyed_count, 0);
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_int_equal(self.destroyed_count, 1);
  tarn_pool_release(NULL);
}

TEST(incomplete_operations_are_refused_by_name) {
  plain self = {0};
  tarn_pool *pool = NULL;
  tarn_pool_ops ops = plain_ops();
  ops.note_use = NULL;
  assert_status(tarn_pool_create(&ops, &self, &pool), TARN_INVALID_ARGUMENT);
  assert_non_null(strstr(tarn_last_error()->message, "note_use"));
  ops = plain_ops();
  ops.struct_size--;
  assert_status(tarn_pool_create(&ops, &self, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_create(NULL, &self, &pool), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_create(&ops, &self, NULL), TARN_INVALID_ARGUMENT);
  assert_null(pool);
  assert_int_equal(self.destroyed_count, 0);
}

TEST(bad_arguments_are_refused) {
  void *address = &address;
  assert_status(tarn_pool_alloc(NULL, 8, NULL, &address), TARN_INVALID_ARGUMENT);
  assert_null(address);
  plain self = {0};
  const tarn_pool_ops ops = plain_ops();
  tarn_pool *pool = NULL;
  assert_ok(tarn_pool_create(&ops, &self, &pool));
  assert_status(tarn_pool_alloc(pool, 8, NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_stats stats = {.struct_size = 1};
  assert_status(tarn_pool_stats_of(pool, &stats), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_free(NULL, &self, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_trim(NULL, 0, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

static void plain_close(void *context, tarn_pool *pool) {
  plain *self = context;
  self->closed = pool;
  if (self->lent_count == 0) tarn_pool_end(pool);
}

static tarn_status counted_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                 tarn_stream *stream, void **address) {
  const tarn_status status = plain_alloc(context, size_bytes, alignment_bytes, stream, address);
  if (status == TARN_OK) ((plain *)context)->lent_count++;
  return status;
}

static tarn_status counted_free(void *context, void *address, tarn_stream *stream) {
  plain *self = context;
  const tarn_status status = plain_free(context, address, stream);
  if (--self->lent_count == 0 && self->closed != NULL) tarn_pool_end(self->closed);
  return status;
}

TEST(a_pool_that_counts_its_blocks_says_itself_when_it_ends) {
  plain self = {0};
  tarn_pool_ops ops = plain_ops();
  ops.alloc = counted_alloc;
  ops.free = counted_free;
  ops.close = plain_close;
  tarn_pool *pool = NULL;
  void *address = NULL;
  assert_ok(tarn_pool_create(&ops, &self, &pool));
  assert_ok(tarn_pool_alloc(pool, 64, NULL, &address));
  tarn_pool_retain(pool);
  tarn_pool_release(pool);
  assert_null(self.closed);
  tarn_pool_release(pool);
  assert_ptr_equal(self.closed, pool);
  assert_int_equal(self.destroyed_count, 0);
  assert_ok(tarn_pool_free(pool, address, NULL));
  assert_int_equal(self.destroyed_count, 1);
}

static tarn_status plain_decay(void *context, uint64_t now_ns, size_t *released_bytes) {
  (void)context;
  *released_bytes = (size_t)now_ns + 1;
  return TARN_OK;
}

TEST(decay_is_asked_of_pools_that_have_it_and_of_others_gives_nothing) {
  plain self = {0};
  tarn_pool_ops ops = plain_ops();
  tarn_pool *without = NULL;
  tarn_pool *with = NULL;
  assert_ok(tarn_pool_create(&ops, &self, &without));
  ops.decay = plain_decay;
  assert_ok(tarn_pool_create(&ops, &self, &with));
  size_t released = 77;
  assert_ok(tarn_pool_decay(without, 41, &released));
  assert_int_equal(released, 0);
  assert_ok(tarn_pool_decay(with, 41, &released));
  assert_int_equal(released, 42);
  assert_ok(tarn_pool_decay(with, 41, NULL));
  assert_status(tarn_pool_decay(NULL, 41, &released), TARN_INVALID_ARGUMENT);
  assert_int_equal(released, 0);
  tarn_pool_release(without);
  tarn_pool_release(with);
}

TEST(a_pool_that_knows_no_sizes_says_so) {
  plain self = {0};
  const tarn_pool_ops ops = plain_ops();
  tarn_pool *pool = NULL;
  size_t size_bytes = 77;
  assert_ok(tarn_pool_create(&ops, &self, &pool));
  assert_status(tarn_pool_size_of(pool, &self, &size_bytes), TARN_NOT_SUPPORTED);
  assert_int_equal(size_bytes, 0);
  assert_non_null(strstr(tarn_last_error()->message, "plain does not tell"));
  assert_status(tarn_pool_size_of(NULL, &self, &size_bytes), TARN_INVALID_ARGUMENT);
  assert_status(tarn_pool_size_of(pool, &self, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
