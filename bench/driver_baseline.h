/* driver_baseline.h: the CUDA driver's own calls, to measure tarn's streams and pools against. */
#ifndef BENCH_DRIVER_BASELINE_H
#define BENCH_DRIVER_BASELINE_H

#include "alloc/tarn_status.h"

typedef struct driver_baseline driver_baseline;

/* `path`: as tarn_cuda_options.driver_path, NULL for the machine's own. Makes the device's primary
 * context current in the calling thread until close. TARN_UNAVAILABLE where the driver lacks one of
 * the calls. */
TARN_NODISCARD tarn_status driver_baseline_open(const char *path, int32_t device,
                                                driver_baseline **out);
void driver_baseline_close(driver_baseline *driver);

/* cuMemcpyAsync: the driver finds out itself where the two addresses lie. */
TARN_NODISCARD tarn_status driver_baseline_copy(const driver_baseline *driver, void *dst,
                                                const void *src, size_t size_bytes,
                                                void *native_stream);
/* cuMemAllocAsync and cuMemFreeAsync: the driver's pool, in the order of the stream. */
TARN_NODISCARD tarn_status driver_baseline_alloc(const driver_baseline *driver, size_t size_bytes,
                                                 void *native_stream, void **address);
TARN_NODISCARD tarn_status driver_baseline_free(const driver_baseline *driver, void *address,
                                                void *native_stream);
TARN_NODISCARD tarn_status driver_baseline_synchronize(const driver_baseline *driver,
                                                       void *native_stream);

#endif
