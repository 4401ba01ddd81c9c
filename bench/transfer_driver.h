/* transfer_driver.h: the CUDA driver's own calls that benchmarks measure with and against. */
#ifndef BENCH_TRANSFER_DRIVER_H
#define BENCH_TRANSFER_DRIVER_H

#include "alloc/tarn_status.h"

typedef struct transfer_driver transfer_driver;

/* How a sample is held back until all of it is enqueued. */
typedef enum transfer_latch_kind {
  TRANSFER_LATCH_NONE = 0, /* not: the driver lacks the call, or the device the memory */
  TRANSFER_LATCH_VALUE = 1 /* cuStreamWaitValue32 on a page-locked word */
} transfer_latch_kind;

/* `path`: as tarn_cuda_options.driver_path, NULL for the machine's own. Makes the device's primary
 * context current in the calling thread until close. TARN_UNAVAILABLE where the driver lacks a call
 * that no measurement can do without. */
TARN_NODISCARD tarn_status transfer_driver_open(const char *path, int32_t device,
                                                transfer_driver **out);
void transfer_driver_close(transfer_driver *driver);
/* Makes the context current in another thread of the program's, which ends with NULL. */
TARN_NODISCARD tarn_status transfer_driver_enter(const transfer_driver *driver, bool enters);

/* --- what there is --- */

transfer_latch_kind transfer_driver_latch(const transfer_driver *driver);
bool transfer_driver_has_batch(const transfer_driver *driver); /* cuMemcpyBatchAsync */
bool transfer_driver_has_ordered_alloc(const transfer_driver *driver);
size_t transfer_driver_l2_bytes(const transfer_driver *driver); /* 0: not told */

/* --- the latch: a word that streams wait for --- */

/* Work enqueued on `stream` afterwards runs once the latch is open. */
TARN_NODISCARD tarn_status transfer_latch_wait(transfer_driver *driver, void *stream);
void transfer_latch_close(transfer_driver *driver);
void transfer_latch_open(transfer_driver *driver);
/* Enqueues: once the latch is open, the second word is written; and waits for that on the host. The
 * way from the host's word to the device and back. */
TARN_NODISCARD tarn_status transfer_latch_answer(transfer_driver *driver, void *stream);
TARN_NODISCARD tarn_status transfer_latch_await_answer(transfer_driver *driver, void *stream);

/* --- streams and events --- */

TARN_NODISCARD tarn_status transfer_stream_create(transfer_driver *driver, void **stream);
void transfer_stream_destroy(transfer_driver *driver, void *stream);
TARN_NODISCARD tarn_status transfer_stream_wait(transfer_driver *driver, void *stream, void *event);
TARN_NODISCARD tarn_status transfer_stream_synchronize(transfer_driver *driver, void *stream);
TARN_NODISCARD tarn_status transfer_event_create(transfer_driver *driver, void **event); /* timed */
void transfer_event_destroy(transfer_driver *driver, void *event);
TARN_NODISCARD tarn_status transfer_event_record(transfer_driver *driver, void *event,
                                                 void *stream);
/* Whether the device has passed it. */
TARN_NODISCARD tarn_status transfer_event_is_passed(transfer_driver *driver, void *event,
                                                    bool *is_passed);
/* Negative where `end` was passed before `start`. */
TARN_NODISCARD tarn_status transfer_event_elapsed(transfer_driver *driver, void *start, void *end,
                                                  double *elapsed_ns);

/* --- copies, in stream order --- */

TARN_NODISCARD tarn_status transfer_driver_copy(transfer_driver *driver, void *dst, const void *src,
                                                size_t size_bytes, void *stream);
/* cuMemcpy2DAsync, both sides by their addresses alone. */
TARN_NODISCARD tarn_status transfer_driver_copy_rows(transfer_driver *driver, void *dst,
                                                     size_t dst_pitch_bytes, const void *src,
                                                     size_t src_pitch_bytes, size_t row_bytes,
                                                     size_t row_count, void *stream);
/* cuMemcpyBatchAsync between the host and the device, sources read in stream order. The arrays are
 * read during the call. */
TARN_NODISCARD tarn_status transfer_driver_copy_batch(transfer_driver *driver, uint64_t *dsts,
                                                      uint64_t *srcs, size_t *sizes_bytes,
                                                      size_t count, bool is_to_device,
                                                      void *stream);
TARN_NODISCARD tarn_status transfer_driver_fill(transfer_driver *driver, void *dst, uint8_t value,
                                                size_t size_bytes, void *stream);

/* --- memory --- */

TARN_NODISCARD tarn_status transfer_driver_alloc(transfer_driver *driver, size_t size_bytes,
                                                 void **address);
TARN_NODISCARD tarn_status transfer_driver_free(transfer_driver *driver, void *address);
/* Of the device's default pool. */
TARN_NODISCARD tarn_status transfer_driver_alloc_ordered(transfer_driver *driver, size_t size_bytes,
                                                         void *stream, void **address);
TARN_NODISCARD tarn_status transfer_driver_free_ordered(transfer_driver *driver, void *address,
                                                        void *stream);
TARN_NODISCARD tarn_status transfer_driver_host_alloc(transfer_driver *driver, size_t size_bytes,
                                                      bool is_write_combined, void **address);
TARN_NODISCARD tarn_status transfer_driver_host_free(transfer_driver *driver, void *address);
TARN_NODISCARD tarn_status transfer_driver_register(transfer_driver *driver, void *address,
                                                    size_t size_bytes);
TARN_NODISCARD tarn_status transfer_driver_unregister(transfer_driver *driver, void *address);

#endif
