/* tarn_text.h: a tensor as text: as NumPy prints an array, or nested lists as Python prints them.
 *
 *     TARN_TEXT_STR     [[0.   0.25]      str(array)
 *                        [0.5  1.  ]]
 *     TARN_TEXT_REPR    array([[0.  , 0.25],
 *                              [0.5 , 1.  ]], dtype=float32)
 *     TARN_TEXT_LIST    [[0.0, 0.25], [0.5, 1.0]]      str(array.tolist())
 *
 * STR and REPR equal NumPy 2.3's and later to the character, for its own element types, under the
 * options below; formatters, floatmode, sign, nanstr, infstr and legacy modes are not offered.
 * Element types that NumPy lacks (bfloat16, fp8, complex32) are written by the same rules, with
 * float32's limits for exponents and the fewest digits of their own format. LIST has no limits: all
 * elements, on one line; floats stand as Python's, which are doubles (float32's 0.1 is
 * 0.10000000149011612). No locale changes any of it.
 */
#ifndef TARN_TEXT_H
#define TARN_TEXT_H

#include "tensor/tarn_tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tarn_text_style {
  TARN_TEXT_STR = 0,
  TARN_TEXT_REPR = 1,
  TARN_TEXT_LIST = 2,
} tarn_text_style;

typedef struct tarn_text_options {
  size_t struct_size;
  tarn_text_style style;
  int32_t precision;   /* most digits behind the point, up to 64; 0: 8; negative: none */
  int64_t threshold;   /* with more elements than this, only the edges are shown; 0: 1000; negative:
                         always the edges */
  int64_t edge_items;  /* at each end of a dimension; 0: 3; not negative */
  int64_t line_width;  /* columns after which a line is broken, at least 1; 0: 75 */
  bool suppress_small; /* small numbers do not lead to exponents, and may show as 0. */
} tarn_text_options;

/* Takes the next piece of the text, which is not terminated; anything but TARN_OK ends the writing,
 * which then returns it. */
typedef tarn_status (*tarn_text_write)(void *context, const char *text, size_t size_bytes);

/* Hands the text to `write`, piece by piece, on the calling thread. `options` may be NULL. Waits
 * for all that is enqueued on `stream`. Only what is shown is looked at; host memory is read where
 * it lies, and a device's elements are first copied into memory of `pool`, host memory, which may
 * be NULL for a host tensor. TARN_NOT_SUPPORTED for elements that tarn_scalar_load cannot read. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_write_text(const tarn_tensor *tensor,
                                                           const tarn_text_options *options,
                                                           tarn_pool *pool, tarn_stream *stream,
                                                           tarn_text_write write, void *context);

/* The same into text_bytes bytes at `text`, cut there and always terminated (text_bytes 0 writes
 * nothing, and `text` may then be NULL). *length_bytes, which may be NULL, is the length of the
 * whole text, without the terminating 0. */
TARN_API TARN_NODISCARD tarn_status tarn_tensor_text(const tarn_tensor *tensor,
                                                     const tarn_text_options *options,
                                                     tarn_pool *pool, tarn_stream *stream,
                                                     char *text, size_t text_bytes,
                                                     size_t *length_bytes);

#ifdef __cplusplus
}
#endif
#endif
