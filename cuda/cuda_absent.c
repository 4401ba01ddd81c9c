/* cuda_absent.c: tarn_cuda.h in a build without CUDA: nothing opens, and the message says why. */
#include "cuda/tarn_cuda.h"

static tarn_status refuse(void) {
  return tarn_fail(TARN_NOT_SUPPORTED,
                   "this build of tarn has no CUDA: it was configured with TARN_CUDA=OFF, or "
                   "without the toolkit's headers cuda.h and cudaTypedefs.h");
}

tarn_status tarn_cuda_open(const tarn_cuda_options *options, tarn_cuda **cuda) {
  (void)options;
  if (cuda != NULL) *cuda = NULL;
  return refuse();
}

/* No tarn_cuda exists here, so only NULL arrives below. */

void tarn_cuda_retain(tarn_cuda *cuda) {
  (void)cuda;
}

void tarn_cuda_release(tarn_cuda *cuda) {
  (void)cuda;
}

bool tarn_cuda_is_simulated(const tarn_cuda *cuda) {
  (void)cuda;
  return false;
}

int32_t tarn_cuda_driver_version(const tarn_cuda *cuda) {
  (void)cuda;
  return 0;
}

int32_t tarn_cuda_device_count(const tarn_cuda *cuda) {
  (void)cuda;
  return 0;
}

tarn_status tarn_cuda_device_info_of(tarn_cuda *cuda, int32_t device, tarn_cuda_device_info *info) {
  (void)cuda, (void)device;
  if (info != NULL && info->struct_size == sizeof *info) {
    *info = (tarn_cuda_device_info){.struct_size = sizeof *info};
  }
  return refuse();
}

tarn_status tarn_cuda_synchronize(tarn_cuda *cuda, int32_t device) {
  (void)cuda, (void)device;
  return refuse();
}

tarn_status tarn_cuda_address_range(tarn_cuda *cuda, int32_t device, const void *address,
                                    void **start, size_t *size_bytes) {
  (void)cuda, (void)device, (void)address;
  if (start != NULL) *start = NULL;
  if (size_bytes != NULL) *size_bytes = 0;
  return refuse();
}

tarn_status tarn_cuda_can_access_peer(tarn_cuda *cuda, int32_t device, int32_t peer, bool *can) {
  (void)cuda, (void)device, (void)peer;
  if (can != NULL) *can = false;
  return refuse();
}

tarn_status tarn_cuda_enable_peer(tarn_cuda *cuda, int32_t device, int32_t peer) {
  (void)cuda, (void)device, (void)peer;
  return refuse();
}

tarn_status tarn_cuda_stream_create(tarn_cuda *cuda, int32_t device, tarn_stream **stream) {
  (void)cuda, (void)device;
  if (stream != NULL) *stream = NULL;
  return refuse();
}

tarn_status tarn_cuda_stream_wrap(tarn_cuda *cuda, int32_t device, void *native_stream,
                                  tarn_stream **stream) {
  (void)cuda, (void)device, (void)native_stream;
  if (stream != NULL) *stream = NULL;
  return refuse();
}

tarn_status tarn_cuda_stream_native(const tarn_stream *stream, void **native_stream) {
  (void)stream;
  if (native_stream != NULL) *native_stream = NULL;
  return refuse();
}

tarn_status tarn_cuda_device_provider_create(tarn_cuda *cuda, int32_t device,
                                             tarn_provider **provider) {
  (void)cuda, (void)device;
  if (provider != NULL) *provider = NULL;
  return refuse();
}

tarn_status tarn_cuda_virtual_provider_create(tarn_cuda *cuda, int32_t device,
                                              const tarn_cuda_virtual_options *options,
                                              tarn_provider **provider) {
  (void)cuda, (void)device, (void)options;
  if (provider != NULL) *provider = NULL;
  return refuse();
}

tarn_status tarn_cuda_driver_pool_create(tarn_cuda *cuda, int32_t device,
                                         const tarn_cuda_driver_pool_options *options,
                                         tarn_pool **pool) {
  (void)cuda, (void)device, (void)options;
  if (pool != NULL) *pool = NULL;
  return refuse();
}

tarn_status tarn_cuda_virtual_stats_of(const tarn_provider *provider,
                                       tarn_cuda_virtual_stats *stats) {
  (void)provider;
  if (stats != NULL && stats->struct_size == sizeof *stats) {
    *stats = (tarn_cuda_virtual_stats){.struct_size = sizeof *stats};
  }
  return refuse();
}

tarn_status tarn_cuda_memory_choose(tarn_cuda *cuda, int32_t device,
                                    tarn_cuda_memory_choice *choice) {
  (void)cuda, (void)device;
  if (choice != NULL && choice->struct_size == sizeof *choice) {
    *choice = (tarn_cuda_memory_choice){.struct_size = sizeof *choice};
  }
  return refuse();
}

tarn_status tarn_cuda_memory_provider_create(tarn_cuda *cuda, int32_t device,
                                             tarn_cuda_memory *memory, tarn_provider **provider) {
  (void)cuda, (void)device;
  if (memory != NULL) *memory = TARN_CUDA_MEMORY_NONE;
  if (provider != NULL) *provider = NULL;
  return refuse();
}

tarn_status tarn_cuda_pinned_provider_create(tarn_cuda *cuda,
                                             const tarn_cuda_pinned_options *options,
                                             tarn_provider **provider) {
  (void)cuda, (void)options;
  if (provider != NULL) *provider = NULL;
  return refuse();
}

tarn_status tarn_cuda_pin_create(tarn_cuda *cuda, const void *address, size_t size_bytes,
                                 uint32_t flags, tarn_cuda_pin **pin) {
  (void)cuda, (void)address, (void)size_bytes, (void)flags;
  if (pin != NULL) *pin = NULL;
  return refuse();
}

void tarn_cuda_pin_destroy(tarn_cuda_pin *pin) {
  (void)pin;
}

tarn_status tarn_cuda_pinned_wrap(tarn_cuda *cuda, const tarn_blob *blob, tarn_storage **storage) {
  (void)cuda, (void)blob;
  if (storage != NULL) *storage = NULL;
  return refuse();
}

tarn_status tarn_cuda_pointer_info_of(tarn_cuda *cuda, const void *address,
                                      tarn_cuda_pointer_info *info) {
  (void)cuda, (void)address;
  if (info != NULL && info->struct_size == sizeof *info) {
    *info = (tarn_cuda_pointer_info){.struct_size = sizeof *info, .ordinal = -1};
  }
  return refuse();
}

tarn_status tarn_cuda_blob_check(tarn_cuda *cuda, tarn_blob *blob) {
  (void)cuda, (void)blob;
  return refuse();
}
