/* torch_scenarios.c: PyTorch's allocator while allocations fail. */
#include "alloc/adapters/torch/tarn_torch.h"
#include "tests/support/test.h"

#include "tests/faults/scenarios.h"
#include "tests/support/open_cuda.h"

enum { BLOCKS = 3, SIZE_BYTES = 4096 };

static const tarn_torch_pool_id ids[2] = {{0, 1}, {0, 2}};

static uint64_t graph_pool_count(void) {
  tarn_torch_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_torch_stats_of(0, &stats));
  return stats.graph_pool_count;
}

/* A second graph of a pool that comes and goes leaves it to the first one. */
static void share_and_leave(tarn_torch_pool_id id) {
  const uint64_t begun_count = graph_pool_count();
  if (begun_count == 0) return;
  tarn_torch_begin_allocate_to_pool(0, id, NULL);
  tarn_torch_end_allocate_to_pool(0, id);
  tarn_torch_release_pool(0, id);
  assert_int_equal(graph_pool_count(), begun_count);
}

/* What cannot be begun is allocated all the same, and ended without harm. */
static bool use_graphs(void *stream) {
  bool has_all = true;
  for (int i = 0; i < 2; i++) {
    tarn_torch_begin_allocate_to_pool(0, ids[i], NULL);
    void *block = tarn_torch_malloc_or_null(SIZE_BYTES, 0, stream);
    has_all = has_all && block != NULL;
    tarn_torch_free(block, SIZE_BYTES, 0, stream);
    tarn_torch_end_allocate_to_pool(0, ids[i]);
    share_and_leave(ids[i]);
    tarn_torch_release_pool(0, ids[i]);
  }
  return has_all;
}

/* Two streams that the adapter keeps in one place, as their handles and devices have one sum:
 * CU_STREAM_LEGACY of device 0, and the handle 0 of device 1. */
static bool use_neighbours(const tarn_cuda *cuda) {
  bool has_all = true;
  for (int device = 0; device < 2 && device < tarn_cuda_device_count(cuda); device++) {
    void *handle = (void *)(uintptr_t)(1 - device);
    void *block = tarn_torch_malloc_or_null(SIZE_BYTES, device, handle);
    has_all = has_all && block != NULL;
    tarn_torch_free(block, SIZE_BYTES, device, handle);
  }
  return has_all;
}

static tarn_status use_all(const tarn_cuda *cuda, void *stream) {
  void *blocks[BLOCKS];
  bool has_all = true;
  for (int i = 0; i < BLOCKS; i++) {
    blocks[i] = tarn_torch_malloc_or_null(SIZE_BYTES, 0, i == 0 ? NULL : stream);
    has_all = has_all && blocks[i] != NULL;
    tarn_torch_record_stream(blocks[i], i == 0 ? stream : NULL);
  }
  has_all = use_neighbours(cuda) && has_all;
  has_all = use_graphs(stream) && has_all;
  for (int i = 0; i < BLOCKS; i++) tarn_torch_free(blocks[i], 0, 0, i == 0 ? NULL : stream);
  tarn_torch_reset();
  return has_all ? TARN_OK : TARN_OUT_OF_MEMORY;
}

tarn_status use_torch(void) {
  tarn_cuda *cuda = NULL;
  tarn_stream *stream = NULL;
  void *handle = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status != TARN_OK) return status == TARN_NOT_SUPPORTED ? TARN_OK : status;
  TRY(tarn_cuda_stream_create(cuda, 0, &stream));
  TRY(tarn_cuda_stream_native(stream, &handle));
  const tarn_torch_options options = {.struct_size = sizeof options, .cuda = cuda};
  TRY(tarn_torch_set_options(&options));
  status = use_all(cuda, handle);
  tarn_torch_stats stats = {.struct_size = sizeof stats};
  assert_ok(tarn_torch_stats_of(0, &stats));
  assert_int_equal(stats.pool.alloc_count, stats.pool.free_count);
  assert_int_equal(stats.recorded_count, 0);
done:
  assert_ok(tarn_torch_close());
  tarn_stream_release(stream);
  tarn_cuda_release(cuda);
  return status;
}
