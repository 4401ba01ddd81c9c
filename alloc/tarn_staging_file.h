/* tarn_staging_file.h: bytes of a file to a device and back, through the slots of a staging ring.
 *
 * The file's bytes go by the system from its cache into a pinned slot and by the stream from there,
 * one piece while the other is on its way: no mapping, no page faults, and no third copy.
 */
#ifndef TARN_STAGING_FILE_H
#define TARN_STAGING_FILE_H

#include "alloc/tarn_staging.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Brings size_bytes of `file`, an open descriptor of something that pread reads, from offset_bytes
 * on to `dst`, in the order of `stream`, which must reach dst_device and the ring's memory. The
 * file has been read when it returns; the destination belongs to the stream until that has passed.
 * TARN_BAD_FORMAT where the file ends before, TARN_SYSTEM_ERROR with its errno where it cannot be
 * read, and what the stream answers: dst may be partly written then, and the stream still at work
 * on it. TARN_NOT_SUPPORTED on a captured stream. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_load(tarn_staging *staging, tarn_stream *stream,
                                                      int file, uint64_t offset_bytes, void *dst,
                                                      tarn_device dst_device, size_t size_bytes);

/* The other way round: writes size_bytes from `src` by pwrite, behind all that is enqueued on
 * `stream`. On return they are written, as pwrite understands that; a failure leaves some. */
TARN_API TARN_NODISCARD tarn_status tarn_staging_store(tarn_staging *staging, tarn_stream *stream,
                                                       int file, uint64_t offset_bytes,
                                                       const void *src, tarn_device src_device,
                                                       size_t size_bytes);

#ifdef __cplusplus
}
#endif
#endif
