/* linear_device.h: brings a device's tensor into row-major order on the host, and back, in pieces.
 *
 * Where the order of the dimensions in memory is not row-major, the device's side is copied in its
 * own order, in few calls, and the CPU turns it. In pieces through two buffers the two overlap:
 *
 *     stream   piece 0 | piece 1 | piece 2 | ...
 *     CPU                turn 0    turn 1    ...
 */
#ifndef TENSOR_LINEAR_DEVICE_H
#define TENSOR_LINEAR_DEVICE_H

#include "tensor/tarn_tensor.h"

/* Whether that pays: a large tensor of a device, turned, on a stream that works on its own without
 * kernels to turn it, and a pool whose memory such a stream copies without waiting. */
bool tarn__linear_is_turned(const tarn_tensor *tensor, tarn_pool *pool, tarn_stream *stream);

/* Fills `packed`, a row-major tensor of the same shape in the host's memory that nobody else uses.
 * All is done when it returns. */
tarn_status tarn__linear_turn_in(const tarn_tensor *tensor, const tarn_tensor *packed,
                                 tarn_pool *pool, tarn_stream *stream);

/* The reverse: the CPU is done with `packed` when it returns, the stream may still be at work. A
 * failure may leave the tensor partly written. */
tarn_status tarn__linear_turn_out(const tarn_tensor *tensor, const tarn_tensor *packed,
                                  tarn_pool *pool, tarn_stream *stream);

#endif
