/* museum_order.c: defects of order: memory reused before its last users were done with it. */
#include "tests/museum/museum.h"

#include <pthread.h>

#include "alloc/tarn_pool_provider.h"
#include "tensor/tarn_copy.h"
#include "tests/alloc/caching_fixture.h"
#include "tests/support/manual_stream.h"

/* The whole limit as one free block, so that every cut and every neighbour is known. */
static tarn_pool *make_one_block_pool(size_t size_bytes) {
  tarn_pool *pool = make_segment_pool(size_bytes);
  give(pool, take(pool, size_bytes, NULL), NULL);
  return pool;
}

/* Stands for a kernel that writes the whole block. */
static void write_tag(tarn_stream *stream, void *block, uint8_t tag, size_t size_bytes) {
  assert_ok(
      tarn_stream_fill(stream, block, tarn_device_make(TARN_DEVICE_CUDA, 0), tag, size_bytes));
}

static void assert_tag(const void *block, uint8_t tag, size_t size_bytes) {
  const uint8_t *bytes = block;
  for (size_t index = 0; index < size_bytes; index++) {
    if (bytes[index] != tag) fail_msg("byte %zu is 0x%x, not 0x%x", index, bytes[index], tag);
  }
}

/* Runs all work in the worst order that the waits allow: a stream's next step only where none of
 * those in front of it can go on. */
static void run_in_this_order(int count, tarn_stream *const *streams) {
  for (int index = 0; index < count;) {
    index = manual_stream_advance(streams[index], 1) == 1 ? 0 : index + 1;
  }
  for (int index = 0; index < count; index++) {
    assert_int_equal(manual_stream_pending(streams[index]), 0);
  }
}
#define RUN_IN_THIS_ORDER(...) \
  run_in_this_order(COUNT_OF(((tarn_stream *[]){__VA_ARGS__})), (tarn_stream *[]){__VA_ARGS__})

/* RMM #2489: a stream that stole from another's list took over the whole list without recording its
 * event anew, and a third stream that stole from it waited for an event older than the takeover.
 * tarn has no lists to take over: each block keeps the stamps of its own last users, and a fence
 * covers the tickets closed before it was recorded, and no others. */
TEST(stale_event_on_merge) {
  tarn_pool *pool = make_one_block_pool(6 * MIB);
  tarn_stream *a = make_stream(), *b = make_stream(), *c = make_stream(), *d = make_stream();
  char *small = take(pool, 2 * MIB, a);
  char *large = take(pool, 4 * MIB, b);
  give(pool, small, a);
  assert_ptr_equal(take(pool, 2 * MIB, c), small); /* a has a fence now: the event to be stale */
  write_tag(b, large, 0xBB, 4 * MIB);
  give(pool, large, b);
  char *stolen = take(pool, 1 * MIB, a);
  assert_in_range(stolen - large, 0, 3 * MIB);
  give(pool, stolen, a); /* unused: only a's wait for b stands between b and the next */
  assert_ptr_equal(take(pool, 1 * MIB, d), stolen); /* what went through a's hands */
  write_tag(d, stolen, 0xCC, 1 * MIB);
  char *rest = take(pool, 3 * MIB, c); /* and what did not */
  assert_in_range(rest - large, 0, MIB);
  write_tag(c, rest, 0xCC, 3 * MIB);
  RUN_IN_THIS_ORDER(d, c, a, b);
  assert_tag(large, 0xCC, 4 * MIB);
  give(pool, small, c);
  give(pool, rest, c);
  give(pool, stolen, d);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_stream_release(c);
  tarn_stream_release(d);
  tarn_pool_release(pool);
}

/* RMM's binning and fixed-size resources over a pool (found by reading): what the lower pool had
 * made stream A wait for went into the upper list as if nobody used it, and stream C took it
 * with no wait at all. In tarn a provider says that its memory is ordered, and the upper pool
 * stamps the whole segment with the stream that got it. */
TEST(expand_hole) {
  enum { BLOCK = MIB / 2, SEGMENT = 4 * BLOCK };
  tarn_pool *lower = make_one_block_pool(3 * SEGMENT);
  const tarn_caching_options options = {
      .struct_size = sizeof options, .limit_bytes = 2 * SEGMENT, .segment_bytes = SEGMENT};
  tarn_provider *provider = NULL;
  tarn_pool *upper = NULL;
  assert_ok(tarn_pool_provider_create(lower, NULL, &provider));
  assert_ok(tarn_caching_pool_create(provider, &options, &upper));
  tarn_stream *a = make_stream(), *b = make_stream(), *c = make_stream();
  char *large = take(lower, 2 * SEGMENT, b);
  write_tag(b, large, 0xBB, 2 * SEGMENT);
  give(lower, large, b);
  char *blocks[5];
  for (int index = 0; index < 5; index++) blocks[index] = take(upper, BLOCK, a);
  assert_in_range(blocks[4] - large, 0, 2 * SEGMENT); /* the fifth expands into b's block */
  char *stolen = take(upper, BLOCK, c);
  assert_in_range(stolen - large, 0, 2 * SEGMENT);
  write_tag(c, stolen, 0xCC, BLOCK);
  RUN_IN_THIS_ORDER(c, a, b);
  assert_tag(stolen, 0xCC, BLOCK);
  give(upper, stolen, c);
  for (int index = 0; index < 5; index++) give(upper, blocks[index], a);
  tarn_stream_release(a);
  tarn_stream_release(b);
  tarn_stream_release(c);
  tarn_pool_release(upper);
  tarn_provider_release(provider);
  tarn_pool_release(lower);
}

typedef struct thread_work {
  tarn_pool *pool;
  tarn_stream *stream;
  char *block;
  size_t size_bytes;
} thread_work;

/* Takes and gives back more than one block of the size, so that whatever a thread keeps for itself
 * is kept; only the last free is behind work. */
static void *work_and_exit(void *argument) {
  thread_work *self = argument;
  tarn_stream *stream = self->stream;
  void *others[4];
  for (int index = 0; index < 4; index++)
    others[index] = take(self->pool, self->size_bytes, stream);
  self->block = take(self->pool, self->size_bytes, stream);
  for (int index = 0; index < 4; index++) give(self->pool, others[index], NULL);
  give(self->pool, self->block, stream);
  assert_ptr_equal(take(self->pool, self->size_bytes, stream), self->block);
  write_tag(stream, self->block, 0xAA, self->size_bytes);
  give(self->pool, self->block, stream);
  return NULL;
}

/* RMM's arena resource: a thread's own arena gave its memory to all others when the thread ended,
 * though work of the thread's stream still used it. In tarn the stamps go with the blocks, whoever
 * keeps them, and a stream that goes leaves its final fence. */
TEST(arena_thread_exit) {
  static const size_t sizes[] = {256, 4096, 64 * 1024, MIB};
  for (size_t index = 0; index < COUNT_OF(sizes); index++) {
    const size_t limit_bytes = 8 * MIB;
    tarn_pool *pool = make_one_block_pool(limit_bytes);
    tarn_stream *theirs = make_stream(), *ours = make_stream();
    thread_work work = {.pool = pool, .stream = theirs, .size_bytes = sizes[index]};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work_and_exit, &work), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stats_of(pool).allocated_bytes, 0);
    assert_int_equal(manual_stream_pending(theirs), 1);
    char *whole = take(pool, limit_bytes, ours); /* nothing stayed with the thread */
    write_tag(ours, whole, 0x55, limit_bytes);
    RUN_IN_THIS_ORDER(ours, theirs);
    assert_tag(whole, 0x55, limit_bytes);
    give(pool, whole, ours);
    tarn_stream_release(theirs);
    tarn_stream_release(ours);
    tarn_pool_release(pool);
  }
}

/* PyTorch (#147168, #181191 and many more): a tensor used on a side stream and freed without
 * record_stream was handed out again while the side stream still read it. tarn's copies note the
 * stream on both storages themselves; for kernels of one's own there is tarn_storage_note_use. */
TEST(forgotten_record_stream) {
  enum { SIZE = 2 * MIB };
  static uint8_t result[SIZE];
  const int64_t shape[] = {SIZE};
  tarn_pool *pool = make_segment_pool(SIZE);
  tarn_stream *home = make_stream(), *side = make_stream();
  const tarn_blob blob = {.struct_size = sizeof blob,
                          .address = result,
                          .size_bytes = SIZE,
                          .device = tarn_device_make(TARN_DEVICE_CUDA, 0)};
  const tarn_dtype bytes = {TARN_CODE_UINT, 8, 1};
  tarn_tensor source, sink, next;
  assert_ok(tarn_tensor_wrap(&blob, bytes, 1, shape, NULL, 0, &sink));
  assert_ok(tarn_tensor_create(pool, bytes, 1, shape, home, &source));
  write_tag(home, tarn_tensor_data_mutable(&source), 0x11, SIZE);
  tarn_fence *written = NULL;
  assert_ok(tarn_fence_create(home, &written));
  assert_ok(tarn_fence_record(written, home));
  assert_ok(tarn_stream_wait(side, written));
  assert_ok(tarn_tensor_copy(&sink, &source, side, NULL));
  const void *address = tarn_tensor_data(&source);
  tarn_tensor_release(&source); /* and not a word about the side stream */
  assert_ok(tarn_tensor_create(pool, bytes, 1, shape, home, &next));
  assert_ptr_equal(tarn_tensor_data(&next), address);
  write_tag(home, tarn_tensor_data_mutable(&next), 0x22, SIZE);
  RUN_IN_THIS_ORDER(home, side);
  assert_tag(result, 0x11, SIZE);
  tarn_tensor_release(&next);
  tarn_tensor_release(&sink);
  tarn_fence_destroy(written);
  tarn_stream_release(home);
  tarn_stream_release(side);
  tarn_pool_release(pool);
}

/* Umpire (GenericReallocateOperation.cpp): an asynchronous reallocate freed the old block as
 * soon as the copy out of it was enqueued, so a pool lent it out under the copy. tarn frees in
 * the order of a stream: whoever gets the old block is behind the copy. */
TEST(async_realloc_frees_source) {
  enum { OLD = 2 * MIB, GROWN = 4 * MIB };
  const int64_t old_shape[] = {OLD}, grown_shape[] = {GROWN};
  tarn_pool *pool = make_one_block_pool(OLD + GROWN);
  tarn_stream *stream = make_stream(), *other = make_stream();
  const tarn_dtype bytes = {TARN_CODE_UINT, 8, 1};
  tarn_tensor old, grown;
  assert_ok(tarn_tensor_create(pool, bytes, 1, old_shape, stream, &old));
  write_tag(stream, tarn_tensor_data_mutable(&old), 0x5A, OLD);
  assert_ok(tarn_tensor_create(pool, bytes, 1, grown_shape, stream, &grown));
  tarn_tensor front = grown;
  assert_ok(tarn_tensor_narrow(&front, 0, 0, OLD));
  assert_ok(tarn_tensor_copy(&front, &old, stream, NULL));
  const void *old_address = tarn_tensor_data(&old);
  tarn_tensor_release(&old);
  void *taken = take(pool, OLD, other);
  assert_ptr_equal(taken, old_address);
  write_tag(other, taken, 0xEE, OLD);
  RUN_IN_THIS_ORDER(other, stream);
  assert_tag(tarn_tensor_data(&grown), 0x5A, OLD);
  assert_tag(taken, 0xEE, OLD);
  give(pool, taken, other);
  tarn_tensor_release(&grown);
  tarn_stream_release(stream);
  tarn_stream_release(other);
  tarn_pool_release(pool);
}

int run_museum_order(void) {
  return run_listed_tests(NULL, NULL);
}
