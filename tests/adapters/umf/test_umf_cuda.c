/* test_umf_cuda.c: a GPU's memory and page-locked memory as UMF's, and pools of UMF's over that. */
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "cuda/tarn_cuda_virtual.h"
#include "tests/adapters/umf/fake_umf.h"
#include "tests/adapters/umf/umf_library.h"
#include "tests/support/open_cuda.h"
#include "tests/support/test.h"

enum { SKIPPED = 77 };

static tarn_cuda *cuda;

static tarn_status make_device(tarn_provider **provider) {
  return tarn_cuda_device_provider_create(cuda, 0, provider);
}

static tarn_status make_virtual(tarn_provider **provider) {
  return tarn_cuda_virtual_provider_create(cuda, 0, NULL, provider);
}

static tarn_status make_pinned(tarn_provider **provider) {
  return tarn_cuda_pinned_provider_create(cuda, NULL, provider);
}

static const struct {
  const char *name;
  tarn_status (*make)(tarn_provider **provider);
  uint32_t kind;
} rows[] = {
    {"device", make_device, TARN__UMF_MEMORY_DEVICE},
    {"virtual", make_virtual, TARN__UMF_MEMORY_DEVICE},
    {"pinned", make_pinned, TARN__UMF_MEMORY_HOST},
};

static tarn__umf_result read_ctl(const struct umf_memory_provider_t *below, size_t *value, ...) {
  va_list none;
  va_start(none, value);
  const tarn__umf_result result = below->ops.ext_ctl(
      below->provider, 0, "stats.allocated_memory", value, sizeof *value, TARN__UMF_CTL_READ, none);
  va_end(none);
  return result;
}

static size_t allocated_bytes(const struct umf_memory_provider_t *below) {
  size_t bytes = 1;
  assert_int_equal(read_ctl(below, &bytes), TARN__UMF_SUCCESS);
  return bytes;
}

/* NULL, with the driver's provider gone already but for the reference of UMF's. */
static struct umf_memory_provider_t *lend_to_umf(size_t row) {
  tarn_provider *provider = NULL;
  const tarn_status status = rows[row].make(&provider);
  if (status == TARN_NOT_SUPPORTED || status == TARN_UNAVAILABLE) return NULL;
  assert_ok(status);
  const tarn_umf_provider_params params = {.struct_size = sizeof params, .provider = provider};
  struct umf_memory_provider_t *below = fake_umf_create(tarn_umf_provider_ops(0), &params);
  tarn_provider_release(provider);
  assert_non_null(below);
  return below;
}

static void check_answers(const struct umf_memory_provider_t *below, uint32_t kind) {
  void *self = below->provider;
  uint32_t told = 99;
  size_t page = 0, recommended = 0, handle_bytes = 0;
  assert_int_equal(
      below->ops.ext_get_allocation_properties(self, NULL, TARN__UMF_PROPERTY_POINTER_TYPE, &told),
      TARN__UMF_SUCCESS);
  assert_int_equal(told, kind);
  assert_int_equal(below->ops.get_min_page_size(self, NULL, &page), TARN__UMF_SUCCESS);
  assert_int_equal(below->ops.get_recommended_page_size(self, 1, &recommended), TARN__UMF_SUCCESS);
  assert_true(tarn_is_power_of_two(page) && recommended >= page);
  /* What the driver shares is no file. */
  assert_int_equal(below->ops.ext_get_ipc_handle_size(self, &handle_bytes),
                   TARN__UMF_NOT_SUPPORTED);
}

TEST(memory_of_the_driver_is_lent_to_umf) {
  for (size_t row = 0; row < COUNT_OF(rows); row++) {
    struct umf_memory_provider_t *below = lend_to_umf(row);
    if (below == NULL) continue;
    void *const self = below->provider;
    void *one, *aligned, *none = &one;
    check_answers(below, rows[row].kind);
    assert_int_equal(below->ops.alloc(self, 1, 0, &one), TARN__UMF_SUCCESS);
    assert_int_equal(below->ops.alloc(self, 100000, (size_t)1 << 22, &aligned), TARN__UMF_SUCCESS);
    assert_int_equal((uintptr_t)aligned % ((size_t)1 << 22), 0);
    assert_int_equal(allocated_bytes(below), 100001);

    const char *message = NULL;
    int32_t code = 0;
    assert_int_not_equal(below->ops.alloc(self, (size_t)1 << 46, 0, &none), TARN__UMF_SUCCESS);
    assert_null(none);
    assert_int_equal(below->ops.get_last_native_error(self, &message, &code), TARN__UMF_SUCCESS);
    assert_true(strlen(message) > 0);
    assert_int_equal(below->ops.alloc(self, SIZE_MAX, 4096, &none), TARN__UMF_OUT_OF_HOST_MEMORY);
    assert_int_equal(below->ops.free(self, one, 2), TARN__UMF_INVALID_ARGUMENT);
    assert_int_equal(allocated_bytes(below), 100001);

    assert_int_equal(below->ops.free(self, one, 1), TARN__UMF_SUCCESS);
    assert_int_equal(below->ops.free(self, one, 1), TARN__UMF_INVALID_ARGUMENT);
    assert_int_equal(below->ops.free(self, aligned, 0), TARN__UMF_SUCCESS);
    assert_int_equal(allocated_bytes(below), 0);
    assert_int_equal(fake_umf_destroy(below), TARN__UMF_SUCCESS);
  }
}

/* Nobody has to say that a GPU's memory is not the CPU's, whatever UMF calls it. */
TEST(the_device_of_tarns_memory_is_known_behind_umf) {
  const tarn_umf_provider_options options = {.struct_size = sizeof options, .find = fake_umf_find};
  for (size_t row = 0; row < COUNT_OF(rows); row++) {
    struct umf_memory_provider_t *below = lend_to_umf(row);
    if (below == NULL) continue;
    tarn_provider *over;
    assert_ok(tarn_umf_provider_create(below, &options, &over));
    assert_int_equal(
        tarn_provider_attributes_of(over)->device.type,
        rows[row].kind == TARN__UMF_MEMORY_DEVICE ? TARN_DEVICE_CUDA : TARN_DEVICE_CUDA_HOST);
    tarn_provider_release(over);
    assert_int_equal(fake_umf_destroy(below), TARN__UMF_SUCCESS);
  }
}

/* A caching pool of UMF's over a provider of UMF's over the driver's. */
TEST(a_pool_of_umf_caches_memory_of_the_driver) {
  const tarn__umf_pool_ops *ops = (const tarn__umf_pool_ops *)tarn_umf_pool_ops(0);
  for (size_t row = 0; row < COUNT_OF(rows); row++) {
    struct umf_memory_provider_t *below = lend_to_umf(row);
    if (below == NULL) continue;
    void *pool = NULL, *blocks[8];
    const tarn_umf_provider_options memory = {.struct_size = sizeof memory, .find = fake_umf_find};
    const tarn_umf_pool_params params = {.struct_size = sizeof params, .memory = &memory};
    assert_int_equal(ops->initialize(below, &params, &pool), TARN__UMF_SUCCESS);
    for (size_t round = 0; round < 3; round++) {
      for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = ops->malloc(pool, (size_t)1000 << i);
        if (blocks[i] == NULL) fail_msg("%s: %s", rows[row].name, tarn_last_error()->message);
        assert_int_equal((uintptr_t)blocks[i] % 256, 0);
      }
      const size_t held_bytes = allocated_bytes(below);
      assert_true(held_bytes >= (size_t)255 * 1000 && held_bytes <= (size_t)32 << 20);
      for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        assert_int_equal(ops->free(pool, blocks[i]), TARN__UMF_SUCCESS);
      }
      assert_int_equal(allocated_bytes(below), held_bytes); /* kept for the next round */
    }
    assert_null(ops->malloc(pool, (size_t)1 << 46));
    assert_int_equal(ops->get_last_allocation_error(pool), TARN__UMF_OUT_OF_HOST_MEMORY);
    assert_int_equal(ops->finalize(pool), TARN__UMF_SUCCESS);
    assert_int_equal(allocated_bytes(below), 0);
    assert_int_equal(fake_umf_destroy(below), TARN__UMF_SUCCESS);
  }
}

/* The stream-ordered pool of tarn's over the driver's memory that came through UMF. */
TEST(a_stream_uses_memory_that_came_through_umf) {
  enum { SIZE = 100000 };
  static unsigned char bytes[SIZE];
  const tarn_device device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  tarn_provider *provider, *detour;
  tarn_pool *pool;
  tarn_stream *stream;
  assert_ok(make_device(&provider));
  assert_ok(fake_umf_detour(provider, &detour));
  assert_ok(tarn_cuda_stream_create(cuda, 0, &stream));
  assert_int_equal(tarn_provider_attributes_of(detour)->device.type, TARN_DEVICE_CUDA);
  assert_ok(tarn_caching_pool_create(detour, NULL, &pool));
  tarn_provider_release(detour);
  tarn_provider_release(provider);
  for (int round = 0; round < 10; round++) {
    void *block;
    assert_ok(tarn_pool_alloc(pool, SIZE, stream, &block));
    assert_ok(tarn_stream_fill(stream, block, device, (uint8_t)round, SIZE));
    assert_ok(
        tarn_stream_copy(stream, bytes, tarn_device_make(TARN_DEVICE_CPU, 0), block, device, SIZE));
    assert_ok(tarn_pool_free(pool, block, stream));
    assert_ok(tarn_stream_synchronize(stream));
    assert_int_equal(bytes[0], round);
    assert_int_equal(bytes[SIZE - 1], round);
  }
  tarn_stream_release(stream);
  tarn_pool_release(pool);
}

int main(void) {
  if (test_open_cuda(&cuda) != TARN_OK) {
    print_message("%s\n", tarn_last_error()->message);
    return SKIPPED;
  }
  const int failed = run_listed_tests(NULL, NULL);
  tarn_cuda_release(cuda);
  return failed;
}
