/* test_kv_cache.c: rows appended token by token to a tensor that never moves, on the host and on a
 * GPU's virtual memory, real or simulated. */
#include "tests/support/pools.h"

#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "tensor/tarn_copy.h"
#include "tests/support/open_cuda.h"

enum {
  HEADS = 8,
  DIM = 64,
  ROW_BYTES = HEADS * DIM * 2, /* float16 */
  GRANULES = 4,
  TOKENS_BETWEEN_CHECKS = 97,
};

/* Where a cache lies, and in which order it is written. */
typedef struct place {
  tarn_provider *provider;
  tarn_stream *stream;
  tarn_pool *host_pool; /* of tokens */
} place;

typedef struct cache {
  tarn_storage *storage;
  tarn_tensor rows; /* [token, head, dim], borrowing the storage; its length grows */
  const void *address;
} cache;

static size_t granularity_of(const place *at) {
  return tarn_provider_attributes_of(at->provider)->granularity_bytes;
}

static cache make_cache(const place *at) {
  const tarn_reserve_options options = {.struct_size = sizeof options,
                                        .capacity_bytes = GRANULES * granularity_of(at)};
  cache made;
  assert_ok(tarn_storage_reserve(at->provider, &options, &made.storage));
  assert_ok(tarn_tensor_of_storage(made.storage, TARN_F16, 3, (const int64_t[]){0, HEADS, DIM}, 0,
                                   &made.rows));
  tarn_storage_release(made.storage); /* the tensor has its own reference */
  made.address = tarn_storage_data(made.storage);
  return made;
}

/* The token's number in each of its bytes. */
static void append(cache *self, const place *at, const tarn_tensor *token) {
  const int64_t number = self->rows.layout.shape[0];
  assert_ok(tarn_storage_resize(self->storage, (size_t)(number + 1) * ROW_BYTES));
  self->rows.layout.shape[0] = number + 1;
  assert_ptr_equal(tarn_tensor_data(&self->rows), self->address);
  tarn_tensor row = self->rows;
  memset(tarn_tensor_data_mutable(token), (int)number, ROW_BYTES);
  assert_ok(tarn_tensor_select(&row, 0, number));
  assert_ok(tarn_tensor_copy(&row, token, at->stream, NULL));
  assert_ok(tarn_stream_synchronize(at->stream)); /* the token is written again for the next one */
}

/* Every row there is, read where attention would read it: one head of all tokens at a time. */
static void assert_whole(const cache *self, const place *at) {
  tarn_tensor head = self->rows, packed;
  const int64_t count = self->rows.layout.shape[0];
  assert_ok(tarn_tensor_select(&head, 1, count % HEADS));
  assert_ok(tarn_tensor_create(at->host_pool, TARN_F16, 2, head.layout.shape, NULL, &packed));
  assert_ok(tarn_tensor_copy(&packed, &head, at->stream, NULL));
  assert_ok(tarn_stream_synchronize(at->stream));
  const unsigned char *bytes = tarn_tensor_data(&packed);
  for (int64_t i = 0; i < count * DIM * 2; i++) {
    if (bytes[i] != (unsigned char)(i / (DIM * 2))) fail_msg("token %d", (int)(i / (DIM * 2)));
  }
  tarn_tensor_release(&packed);
}

static void assert_committed_follows(const cache *self, const place *at) {
  const size_t step = granularity_of(at);
  const size_t size_bytes = tarn_storage_size_bytes(self->storage);
  assert_int_equal(size_bytes, self->rows.layout.shape[0] * ROW_BYTES);
  assert_int_equal(tarn_storage_committed_bytes(self->storage),
                   (size_bytes + step - 1) / step * step);
}

/* A sequence ends and the next one is shorter: memory goes back, addresses do not. */
static void start_over(cache *self, const place *at) {
  const tarn_tensor before = self->rows;
  assert_ok(tarn_storage_resize(self->storage, ROW_BYTES));
  self->rows.layout.shape[0] = 1;
  tarn_tensor longer = before;
  assert_status(tarn_tensor_copy(&longer, &before, at->stream, NULL), TARN_INVALID_ARGUMENT);
  assert_ok(tarn_storage_trim(self->storage));
  assert_committed_follows(self, at);
}

static void grow_to_the_end(cache *self, const place *at, const tarn_tensor *token) {
  const int64_t capacity = (int64_t)(tarn_storage_capacity_bytes(self->storage) / ROW_BYTES);
  while (self->rows.layout.shape[0] < capacity) {
    append(self, at, token);
    if (self->rows.layout.shape[0] % TOKENS_BETWEEN_CHECKS == 0) assert_whole(self, at);
    assert_committed_follows(self, at);
  }
  assert_whole(self, at);
  assert_status(tarn_storage_resize(self->storage, (size_t)(capacity + 1) * ROW_BYTES),
                TARN_OUT_OF_MEMORY);
}

static void run_on(const place *at) {
  tarn_tensor token;
  assert_ok(
      tarn_tensor_create(at->host_pool, TARN_F16, 2, (const int64_t[]){HEADS, DIM}, NULL, &token));
  cache made = make_cache(at);
  grow_to_the_end(&made, at, &token);
  start_over(&made, at);
  grow_to_the_end(&made, at, &token);
  tarn_tensor_release(&made.rows);
  tarn_tensor_release(&token);
}

TEST(a_cache_grows_on_the_host) {
  place at = {.host_pool = pages_pool(NULL)};
  assert_ok(tarn_pages_provider_create(NULL, &at.provider));
  run_on(&at);
  tarn_provider_release(at.provider);
  tarn_pool_release(at.host_pool);
}

TEST(a_cache_grows_on_a_gpu) {
  tarn_cuda *cuda;
  place at = {.host_pool = pages_pool(NULL)};
  const tarn_status opened = test_open_cuda(&cuda);
  if (opened == TARN_UNAVAILABLE || opened == TARN_NOT_SUPPORTED) {
    print_message("skipped: %s\n", tarn_last_error()->message);
    tarn_pool_release(at.host_pool);
    skip();
  }
  assert_ok(opened);
  const tarn_status made = tarn_cuda_virtual_provider_create(cuda, 0, NULL, &at.provider);
  if (made == TARN_OK) {
    assert_ok(tarn_cuda_stream_create(cuda, 0, &at.stream));
    run_on(&at);
  } else {
    assert_int_equal(made, TARN_NOT_SUPPORTED); /* a device without virtual memory */
  }
  tarn_stream_release(at.stream);
  tarn_provider_release(at.provider);
  tarn_cuda_release(cuda);
  tarn_pool_release(at.host_pool);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
