/* tarn_element.h: the one value of a tensor with one element, and one value for all elements. */
#ifndef TARN_ELEMENT_H
#define TARN_ELEMENT_H

#include "tensor/tarn_scalar.h"
#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The value of the only element, of any rank and on any device; TARN_INVALID_ARGUMENT where there
 * are none or more. Waits for all that is enqueued on `stream`, which must reach the tensor's
 * device; NULL does for host memory where nothing is pending, and then costs a few nanoseconds. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_item(const tarn_tensor *tensor, tarn_stream *stream,
                                                     tarn_scalar *scalar);

/* Every element becomes the value, in the order of `stream`. Refused, with nothing written, where
 * the value does not fit the element type, as tarn_scalar_store says; TARN_READ_ONLY for a
 * read-only storage, TARN_OVERLAP where two indices reach one element. The tensor may be released
 * right after the call.
 *
 * Device memory is filled by the stream: by a kernel where it has one that reaches the memory. Else
 * dense memory takes a few calls, and memory with gaps a staged copy, which is synchronous. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_fill(const tarn_tensor *tensor, tarn_scalar scalar,
                                                     tarn_stream *stream);

/* Zero bytes into every element, whatever its type: opaque ones and several lanes too. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_fill_zero(const tarn_tensor *tensor,
                                                          tarn_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
