/* test_prefetch_pool.c: pages that are there when a block is lent, in the order of its stream. */
#include "alloc/adapters/pools/tarn_prefetch_pool.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/tarn_host_stream.h"
#include "tests/adapters/pools/adaptor_fixture.h"
#include "tests/support/manual_stream.h"

enum { PAGES = 64 };

static size_t page_bytes(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

/* Fresh base pages, none of them there. */
static char *map_pages(int protection) {
  char *pages = mmap(NULL, PAGES * page_bytes(), protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(pages, MAP_FAILED);
  madvise(pages, PAGES * page_bytes(), MADV_NOHUGEPAGE); /* EINVAL: there are no others */
  return pages;
}

static size_t resident_pages(char *pages) {
  unsigned char is_there[PAGES];
  size_t count = 0;
  assert_int_equal(mincore(pages, PAGES * page_bytes(), is_there), 0);
  for (size_t index = 0; index < PAGES; index++) count += is_there[index] & 1;
  return count;
}

static tarn_pool *make_prefetch(scripted_pool *script, tarn_prefetch_pool_options options) {
  tarn_pool *upstream = make_scripted_pool(script);
  tarn_pool *pool = NULL;
  options.struct_size = sizeof options;
  assert_ok(tarn_prefetch_pool_create(upstream, &options, &pool));
  tarn_pool_release(upstream);
  return pool;
}

static tarn_prefetch_told told_by(tarn_pool *pool) {
  tarn_prefetch_told told = {.struct_size = sizeof told};
  assert_ok(tarn_prefetch_pool_tell(pool, &told));
  return told;
}

TEST(pages_are_there_when_a_block_is_lent_to_the_host) {
  char *pages = map_pages(PROT_READ | PROT_WRITE);
  scripted_pool script = {.block = pages + 64};
  tarn_pool *pool = make_prefetch(&script, (tarn_prefetch_pool_options){.thread_count = 2});
  void *block = NULL;
  assert_int_equal(resident_pages(pages), 0);
  assert_ok(tarn_pool_alloc(pool, (PAGES - 1) * page_bytes(), NULL, &block));
  /* The first page and the last are others' as well. */
  assert_int_equal(resident_pages(pages), PAGES - 2);
  assert_int_equal(told_by(pool).prefetched_bytes, (PAGES - 2) * page_bytes());
  assert_ok(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
  munmap(pages, PAGES * page_bytes());
}

TEST(small_blocks_are_left_as_they_are) {
  char *pages = map_pages(PROT_READ | PROT_WRITE);
  scripted_pool script = {.block = pages};
  tarn_pool *pool = make_prefetch(&script, (tarn_prefetch_pool_options){.size_min_bytes = 0});
  void *block = NULL;
  assert_ok(tarn_pool_alloc(pool, (64 << 10) - 1, NULL, &block));
  assert_int_equal(resident_pages(pages), 0);
  assert_ok(tarn_pool_free(pool, block, NULL));
  tarn_pool_release(pool);
  munmap(pages, PAGES * page_bytes());
}

TEST(an_allocation_whose_pages_cannot_be_had_fails_whole) {
  char *pages = map_pages(PROT_READ); /* no place may be written: as of no memory */
  scripted_pool script = {.block = pages};
  tarn_pool *pool = make_prefetch(&script, (tarn_prefetch_pool_options){.thread_count = 1});
  void *block = &block;
  assert_status(tarn_pool_alloc(pool, PAGES * page_bytes(), NULL, &block), TARN_OUT_OF_MEMORY);
  assert_null(block);
  assert_int_equal(script.alloc_count, 1);
  assert_int_equal(script.free_count, 1);
  const tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.alloc_count, 0);
  assert_int_equal(stats.requested_bytes_peak, 0);
  assert_int_equal(stats.out_of_memory_count, 1);
  tarn_pool_release(pool);
  assert_int_equal(script.destroy_count, 1);
  munmap(pages, PAGES * page_bytes());
}

TEST(a_streams_block_is_touched_in_the_streams_order) {
  char *pages = map_pages(PROT_READ | PROT_WRITE);
  scripted_pool script = {.block = pages};
  tarn_pool *pool = make_prefetch(&script, (tarn_prefetch_pool_options){.thread_count = 1});
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create(&stream));
  void *block = NULL;
  assert_ok(tarn_pool_alloc(pool, PAGES * page_bytes(), stream, &block));
  assert_int_equal(resident_pages(pages), 0); /* earlier work may still use the block */
  assert_int_equal(script.note_count, 1);     /* and now the stream does, whatever its caller */
  assert_ok(tarn_pool_free(pool, block, stream));
  assert_int_equal(manual_stream_advance(stream, 10), 1);
  assert_int_equal(resident_pages(pages), PAGES);
  assert_int_equal(told_by(pool).prefetched_bytes, PAGES * page_bytes());
  tarn_pool_release(pool);
  tarn_stream_release(stream);
  munmap(pages, PAGES * page_bytes());
}

/* The job outlives the pool. */
TEST(a_stream_may_touch_after_the_pool_is_gone) {
  char *pages = map_pages(PROT_READ | PROT_WRITE);
  scripted_pool script = {.block = pages};
  tarn_pool *pool = make_prefetch(&script, (tarn_prefetch_pool_options){.thread_count = 1});
  tarn_stream *stream = NULL;
  assert_ok(manual_stream_create(&stream));
  void *block = NULL;
  assert_ok(tarn_pool_alloc(pool, PAGES * page_bytes(), stream, &block));
  assert_ok(tarn_pool_free(pool, block, stream));
  tarn_pool_release(pool);
  assert_int_equal(script.destroy_count, 1);
  assert_int_equal(manual_stream_advance(stream, 10), 1);
  assert_int_equal(resident_pages(pages), PAGES);
  tarn_stream_release(stream);
  munmap(pages, PAGES * page_bytes());
}

typedef struct prefetcher {
  void *address;
  size_t size_bytes;
  tarn_stream *stream;
  tarn_status status;
} prefetcher;

static tarn_status note_prefetch(void *context, void *address, size_t size_bytes,
                                 tarn_stream *stream) {
  prefetcher *self = context;
  self->address = address;
  self->size_bytes = size_bytes;
  self->stream = stream;
  return self->status == TARN_OK ? TARN_OK : tarn_fail(self->status, "prefetcher");
}

TEST(managed_memory_is_prefetched_by_the_callers_function) {
  static _Alignas(64) char block[100];
  scripted_pool script = {.block = block, .device = {TARN_DEVICE_CUDA_MANAGED, 0}};
  prefetcher told = {.status = TARN_OK};
  tarn_pool *pool = make_prefetch(
      &script, (tarn_prefetch_pool_options){
                   .size_min_bytes = 1, .prefetch = note_prefetch, .prefetch_context = &told});
  void *address = NULL;
  assert_ok(tarn_pool_alloc(pool, 100, NULL, &address));
  assert_ptr_equal(told.address, block);
  assert_int_equal(told.size_bytes, 100);
  assert_int_equal(told_by(pool).prefetched_bytes, 100);
  assert_ok(tarn_pool_free(pool, address, NULL));
  told.status = TARN_DEVICE_ERROR;
  (void)tarn_fail(TARN_BUSY, "an earlier failure");
  assert_ok(tarn_pool_alloc(pool, 100, NULL, &address));
  assert_string_equal(tarn_last_error()->message, "an earlier failure");
  assert_int_equal(told_by(pool).failed_count, 1);
  assert_ok(tarn_pool_free(pool, address, NULL));
  told.status = TARN_OUT_OF_MEMORY;
  assert_status(tarn_pool_alloc(pool, 100, NULL, &address), TARN_OUT_OF_MEMORY);
  assert_string_equal(tarn_last_error()->message, "prefetcher");
  tarn_pool_release(pool);
}

TEST(creation_says_what_cannot_be_prefetched) {
  scripted_pool managed = {.device = {TARN_DEVICE_CUDA_MANAGED, 0}};
  scripted_pool device = {.device = {TARN_DEVICE_CUDA, 0}};
  tarn_pool *upstream = make_scripted_pool(&managed);
  tarn_pool *pool = upstream;
  assert_status(tarn_prefetch_pool_create(upstream, NULL, &pool), TARN_NOT_SUPPORTED);
  assert_null(pool);
  const tarn_prefetch_pool_options many = {.struct_size = sizeof many, .thread_count = 65};
  assert_status(tarn_prefetch_pool_create(upstream, &many, &pool), TARN_INVALID_ARGUMENT);
  tarn_prefetch_told told = {.struct_size = sizeof told};
  assert_status(tarn_prefetch_pool_tell(upstream, &told), TARN_INVALID_ARGUMENT);
  assert_status(tarn_prefetch_pool_tell(upstream, NULL), TARN_INVALID_ARGUMENT);
  tarn_pool_release(upstream);
  pool = make_prefetch(&device, (tarn_prefetch_pool_options){.size_min_bytes = 1});
  void *address = NULL;
  static _Alignas(64) char on_device[100];
  device.block = on_device;
  assert_ok(tarn_pool_alloc(pool, 100, NULL, &address)); /* it is there, always */
  assert_int_equal(told_by(pool).prefetched_bytes, 0);
  assert_ok(tarn_pool_free(pool, address, NULL));
  tarn_pool_release(pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
