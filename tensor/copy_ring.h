/* copy_ring.h: copies between the host and a device through the stream's ring of pinned slots.
 *
 *     CPU      pack 0 | pack 1 | pack 2 | ...         to the device; the other way round the CPU
 *     stream            rows 0 | rows 1 | ...         unpacks behind the stream
 *
 * A piece lies in its slot without gaps. Where the stream copies grids and the CPU would have to
 * turn or convert elements, it lies there in the host's order and type: the CPU copies bytes, and
 * the device does the rest on the elements' way between the slot and its memory. Else it lies there
 * in the device's order and type.
 */
#ifndef TENSOR_COPY_RING_H
#define TENSOR_COPY_RING_H

#include "alloc/tarn_staging.h"

#include "tensor/copy_staged.h"

/* The ring that such a copy may take: NULL where the stream has none, or must not use it. What the
 * CPU is about to read of pageable memory is then behind the stream's host functions. */
tarn_status tarn__copy_find_ring(const tarn__copy_side *src, tarn_stream *stream,
                                 tarn_staging **ring);

/* Whether the ring can carry it: one side is the host's, the other a device's, and an element fits
 * into a slot. */
bool tarn__copy_ring_carries(const tarn_staging *ring, const tarn__copy_side *dst,
                             const tarn__copy_side *src, const tarn__copy_elements *element);

/* For sides that share no byte. To a device the source has been read on return; from one the copy
 * is done. A failure may leave the destination partly written. */
tarn_status tarn__copy_ring_run(tarn_staging *ring, const tarn__copy_side *dst,
                                const tarn__copy_side *src, const tarn__copy_elements *element,
                                tarn_stream *stream, tarn__copy_outcome *outcome);

#endif
