/* staging.h: what streams ask of a ring. */
#ifndef TARN_STAGING_PRIVATE_H
#define TARN_STAGING_PRIVATE_H

#include "alloc/tarn_staging.h"

/* Whether rows between these two sides go through a ring: pageable memory on one side, and on the
 * other what the CPU cannot reach. */
bool tarn__staging_takes(const tarn_copy_rows *rows);

/* Copies them so. Host to device: the source has been read when it returns, the stream copies the
 * slots on. Device to host: done when it returns. A failure may leave the destination partly
 * written; the stream does not use the pageable side any more. */
tarn_status tarn__staging_copy_rows(tarn_staging *staging, tarn_stream *stream,
                                    const tarn_copy_rows *rows);

#endif
