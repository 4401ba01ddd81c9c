/* kernel_args.h: what the copy kernels are launched with; for nvcc, the library and the simulator.
 *
 * A grid of elements is cut into *items*, one for each thread of a launch or several. An item's
 * number is taken apart into digits, the fastest first, each of which moves both addresses:
 *
 *     item = d0 + d1 * size0 + d2 * size0 * size1 ...      dst += d * dst_stride, src += ...
 *
 * Launches of more than TARN__KERNEL_ITEMS_MAX items are cut by whoever makes them, so that numbers
 * of items take 32 bits everywhere, and divisions by a digit's size a multiplication (Granlund and
 * Montgomery: Division by Invariant Integers using Multiplication, 1994). Addresses take 64.
 */
#ifndef CUDA_KERNEL_ARGS_H
#define CUDA_KERNEL_ARGS_H

#include <stdint.h>

enum {
  TARN__KERNEL_THREADS = 256, /* of a block, in every kernel */
  TARN__KERNEL_DIGITS_MAX = 10,
  TARN__KERNEL_ITEMS_MAX = 1 << 30,
  TARN__KERNEL_SHARED_BYTES = 16 << 10,
};

/* The element types that convert, in the order of tensor/convert.c; and integers on their way to a
 * float that is narrower than float, for which a double must round to odd. */
typedef enum tarn__kernel_type {
  TARN__TYPE_BOOL,
  TARN__TYPE_I8,
  TARN__TYPE_I16,
  TARN__TYPE_I32,
  TARN__TYPE_I64,
  TARN__TYPE_U8,
  TARN__TYPE_U16,
  TARN__TYPE_U32,
  TARN__TYPE_U64,
  TARN__TYPE_F16,
  TARN__TYPE_BF16,
  TARN__TYPE_E4M3FN,
  TARN__TYPE_E5M2,
  TARN__TYPE_F32,
  TARN__TYPE_F64,
  TARN__TYPE_C64,
  TARN__TYPE_C128,
  TARN__TYPE_COUNT,
  TARN__TYPE_I64_ODD = TARN__TYPE_COUNT,
  TARN__TYPE_U64_ODD,
} tarn__kernel_type;

/* quotient = (high 32 bits of n * factor + n) >> shift, for n below 2^31. */
typedef struct tarn__kernel_divisor {
  uint32_t size;
  uint32_t factor;
  uint32_t shift;
} tarn__kernel_divisor;

typedef struct tarn__kernel_digit {
  int64_t dst_stride; /* bytes */
  int64_t src_stride;
  tarn__kernel_divisor by;
  uint32_t chunk_step; /* of a digit that walks along the run: chunks */
} tarn__kernel_digit;

/* Copies and conversions along runs: `run` elements that follow each other in the destination. An
 * item is one chunk of a run: `chunk` elements whose addresses in the destination begin at a
 * multiple of the chunk's bytes, fewer at either end of a run. In the source a run is `inner.size`
 * elements src_step apart, and again and again src_wrap further.
 *
 *     destination   [. . a b][c d e f][g h . .]      a run of 8, chunks of 4
 *     source        a  b  c  d  e  f  g  h           any distances
 *
 * With chunk 1 the run is one element, and every element is an item.
 *
 * Items whose chunks are whole and follow each other without digits are straight: most of what is
 * converted is long and dense, and finding its items the long way costs more than converting. */
typedef struct tarn__kernel_run_args {
  uint64_t dst;
  uint64_t src;
  int64_t src_step;
  int64_t src_wrap; /* from the last of an inner row to the first of the next one */
  tarn__kernel_digit digits[TARN__KERNEL_DIGITS_MAX];
  uint32_t digit_count;
  uint32_t item_count;
  uint32_t run;
  uint32_t chunk; /* a power of two */
  uint32_t chunk_count;
  uint32_t straight_count; /* of the first items */
  tarn__kernel_divisor inner;
  uint8_t is_src_dense; /* the run is one in the source, too */
  uint8_t dst_type;     /* tarn__kernel_type */
  uint8_t src_type;
  uint8_t element_bytes; /* of the destination */
  uint8_t src_bytes;
  uint32_t value[4]; /* what a fill writes */
} tarn__kernel_run_args;

/* Turns: the destination is dense along i, the source along j, in tiles of both. The digits are the
 * other dimensions. Tiles are walked in groups of a few along j, so that those under way at one
 * time lie side by side in both memories. */
typedef struct tarn__kernel_turn_args {
  uint64_t dst;
  uint64_t src;
  int64_t dst_stride_j;
  int64_t src_stride_i;
  int64_t src_stride_j; /* the element's bytes, or anything */
  uint32_t size_i;
  uint32_t size_j;
  uint32_t tiles_i;
  uint32_t tiles_j;
  tarn__kernel_digit digits[TARN__KERNEL_DIGITS_MAX - 2];
  uint32_t digit_count;
  uint8_t dst_unit; /* bytes of one access to the destination: 16, 4, or the element's */
  uint8_t src_unit; /* the same of the source: 16, 4, or 1, by elements */
  uint8_t dst_type;
  uint8_t src_type;
  uint8_t dst_bytes;
  uint8_t src_bytes;
} tarn__kernel_turn_args;

/* The tile of elements of so many bytes, along i and along j: 16 KiB, whose rows are whole lines of
 * 128 bytes on both sides: see kernel_turn.h. */
#define TARN__TILE_I(element_bytes) ((element_bytes) <= 2 ? 128 : (element_bytes) == 4 ? 64 : 32)
#define TARN__TILE_J(element_bytes) ((element_bytes) == 1 ? 128 : (element_bytes) == 16 ? 32 : 64)
enum { TARN__TILE_GROUP = 8 };

#endif
