/* staging_scenarios.c: copies through a staging ring while allocations fail. */
#include "tests/support/test.h"

#include <string.h>

#include <stdlib.h>
#include <unistd.h>

#include "alloc/tarn_pages.h"
#include "alloc/tarn_staging_file.h"
#include "tests/faults/scenarios.h"
#include "tests/support/open_cuda.h"

enum { BYTES = 300 << 10, SLOT_BYTES = 64 << 10 };

/* There and back, more than the ring holds. */
static tarn_status copy_there_and_back(tarn_stream *stream, void *far) {
  static char sent[BYTES], received[BYTES];
  const tarn_device host = {TARN_DEVICE_CPU, 0}, device = {TARN_DEVICE_CUDA, 0};
  memset(sent, 7, BYTES);
  memset(received, 0, BYTES);
  tarn_status status = tarn_stream_copy(stream, far, device, sent, host, BYTES);
  if (status == TARN_OK) status = tarn_stream_copy(stream, received, host, far, device, BYTES);
  if (status == TARN_OK) assert_memory_equal(received, sent, BYTES);
  return status;
}

/* A file as long as the memory, there and back. */
static tarn_status use_a_file(tarn_staging *staging, tarn_stream *stream, void *far) {
  char name[] = "/tmp/tarn_faults_XXXXXX";
  const tarn_device device = {TARN_DEVICE_CUDA, 0};
  const int file = mkstemp(name);
  assert_true(file >= 0);
  unlink(name);
  tarn_status status = tarn_staging_store(staging, stream, file, 0, far, device, BYTES);
  if (status == TARN_OK) {
    status = tarn_staging_load(staging, stream, file, 0, far, device, BYTES);
  }
  close(file);
  return status;
}

/* A ring alone, which takes any memory of the host's. */
static tarn_status make_a_ring(const tarn_staging_options *options) {
  tarn_provider *pages = NULL;
  tarn_staging *staging = NULL;
  tarn_status status = tarn_pages_provider_create(NULL, &pages);
  if (status == TARN_OK) status = tarn_staging_create(pages, options, &staging);
  tarn_staging_release(staging);
  tarn_provider_release(pages);
  return status;
}

tarn_status use_staging(void) {
  tarn_cuda *cuda = NULL;
  tarn_provider *pinned = NULL, *memory = NULL;
  tarn_staging *staging = NULL;
  tarn_stream *stream = NULL;
  void *far = NULL;
  const size_t far_bytes = 2 << 20;
  const tarn_staging_options options = {
      .struct_size = sizeof options, .slot_bytes = SLOT_BYTES, .slot_count = 2};
  tarn_status status = make_a_ring(&options);
  if (status == TARN_OK) status = test_open_cuda(&cuda);
  if (status == TARN_UNAVAILABLE || status == TARN_NOT_SUPPORTED) return TARN_OK;
  if (status != TARN_OK) return status;
  TRY(tarn_cuda_pinned_provider_create(cuda, NULL, &pinned));
  TRY(tarn_cuda_device_provider_create(cuda, 0, &memory));
  TRY(tarn_provider_alloc(memory, far_bytes, &far));
  TRY(tarn_cuda_stream_create(cuda, 0, &stream));
  TRY(tarn_staging_create(pinned, &options, &staging));
  TRY(tarn_stream_set_staging(stream, staging));
  TRY(copy_there_and_back(stream, far));
  TRY(use_a_file(staging, stream, far));
done:
  tarn_staging_release(staging);
  if (stream != NULL) assert_ok(tarn_stream_synchronize(stream));
  tarn_stream_release(stream);
  if (far != NULL) assert_ok(tarn_provider_free(memory, far, far_bytes));
  tarn_provider_release(memory);
  tarn_provider_release(pinned);
  tarn_cuda_release(cuda);
  return status;
}
