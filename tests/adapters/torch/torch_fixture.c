/* torch_fixture.c: PyTorch's side of the adapter: its streams, its work, its captures. */
#include "tests/adapters/torch/torch_fixture.h"

#include <stdlib.h>

static tarn_cuda *torch_driver;

int torch_group_setup(void **state) {
  if (graph_setup(state) != 0) return -1;
  torch_driver = *state;
  return 0;
}

void torch_options(const tarn_torch_options *options) {
  tarn_torch_options whole = *options;
  whole.struct_size = sizeof whole;
  whole.cuda = torch_driver;
  OK(tarn_torch_set_options(&whole));
}

int torch_setup(void **state) {
  (void)state;
  torch_options(&(tarn_torch_options){.limit_bytes = 0});
  return 0;
}

int torch_teardown(void **state) {
  (void)state;
  if (tarn_torch_close() == TARN_OK) return 0;
  print_error("%s\n", tarn_last_error()->message);
  exit(1); /* a test that failed left blocks behind: the next ones would fail for no reason */
}

void torch_limit(size_t limit_bytes) {
  torch_options(&(tarn_torch_options){.limit_bytes = limit_bytes});
}

tarn_torch_stats torch_stats(void) {
  tarn_torch_stats stats = {.struct_size = sizeof stats};
  OK(tarn_torch_stats_of(0, &stats));
  return stats;
}

torch_stream torch_make_stream(void) {
  torch_stream made = {.work = fixture_stream(torch_driver)};
  OK(tarn_cuda_stream_native(made.work, &made.handle));
  return made;
}

void torch_destroy_native(torch_stream *stream) {
  OK(tarn_stream_synchronize(stream->work));
  tarn_stream_release(stream->work);
  stream->work = NULL;
}

void torch_drop_stream(torch_stream *stream) {
  OK(tarn_torch_forget_stream(0, stream->handle));
  torch_destroy_native(stream);
}

void *torch_take(size_t size_bytes, const torch_stream *stream) {
  void *address = tarn_torch_malloc(size_bytes, 0, stream->handle);
  if (address == NULL) print_error("%s\n", tarn_last_error()->message);
  assert_non_null(address);
  return address;
}

void torch_give(void *address, const torch_stream *stream) {
  const uint64_t refused = torch_stats().refused_free_count;
  tarn_torch_free(address, 0, 0, stream->handle);
  if (torch_stats().refused_free_count != refused) print_error("%s\n", tarn_last_error()->message);
  assert_int_equal(torch_stats().refused_free_count, refused);
}

void torch_fill(void *address, uint8_t value, size_t size_bytes, const torch_stream *stream) {
  graph_fill(address, value, size_bytes, stream->work);
}

void torch_order(const torch_stream *later, const torch_stream *earlier) {
  tarn_fence *fence = NULL;
  OK(tarn_fence_create(earlier->work, &fence));
  OK(tarn_fence_record(fence, earlier->work));
  OK(tarn_stream_wait(later->work, fence));
  tarn_fence_destroy(fence);
}
