/* kernel_convert.h: bodies of the kernels that convert as they copy, along runs or by tiles.
 *
 * One kernel converts many pairs of types: which two they are is the same for all threads, so that
 * the two switches cost some instructions for `places` elements and no divergence. The wider side
 * of these is 16 bytes, what it takes to keep memory busy with one access a thread; eight places at
 * most, for the narrow types. */
#ifndef CUDA_KERNEL_CONVERT_H
#define CUDA_KERNEL_CONVERT_H

#include "cuda/kernel_run.h"
#include "cuda/kernel_turn.h"
#include "cuda/kernel_values.h"

typedef enum tarn__way { TARN__WAY_INT, TARN__WAY_FLOAT, TARN__WAY_DOUBLE } tarn__way;

TARN__BODY void tarn__convert_words(tarn__way way, uint32_t dst_type, uint32_t src_type,
                                    uint32_t places, const uint32_t in[4], uint32_t out[4]) {
  TARN__UNROLL
  for (uint32_t w = 0; w < 4; w++) out[w] = 0;
  if (way == TARN__WAY_INT) {
    tarn__convert_int(dst_type, src_type, places, in, out);
  } else if (way == TARN__WAY_FLOAT) {
    tarn__convert_float(dst_type, src_type, places, in, out);
  } else {
    tarn__convert_double(dst_type, src_type, places, in, out);
  }
}

/* So many bytes, a power of two, at a multiple of them. */
TARN__BODY void tarn__load_bytes(uint64_t src, uint32_t size_bytes, uint32_t words[4]) {
  TARN__UNROLL
  for (uint32_t w = 0; w < 4; w++) words[w] = 0;
  if (size_bytes == 16) {
    tarn__load_128(src, words);
  } else if (size_bytes == 8) {
    tarn__load_64(src, words);
  } else if (size_bytes == 4) {
    words[0] = tarn__load_32(src);
  } else if (size_bytes == 2) {
    words[0] = tarn__load_16(src);
  } else {
    words[0] = tarn__load_8(src);
  }
}

TARN__BODY void tarn__store_bytes(uint64_t dst, uint32_t size_bytes, const uint32_t words[4]) {
  if (size_bytes == 16) {
    tarn__store_128(dst, words);
  } else if (size_bytes == 8) {
    tarn__store_64(dst, words);
  } else if (size_bytes == 4) {
    tarn__store_32(dst, words[0]);
  } else if (size_bytes == 2) {
    tarn__store_16(dst, words[0]);
  } else {
    tarn__store_8(dst, words[0]);
  }
}

/* Elements `first` to `end` of the places, at the ends of runs. */
TARN__BODY void tarn__store_places(uint64_t dst, uint32_t element_bytes, uint32_t first,
                                   uint32_t end, uint32_t words[4]) {
  TARN__ROLLED
  for (uint32_t k = 0; k < end; k++) {
    if (k >= first) tarn__store_bytes(dst + k * element_bytes, element_bytes, words);
    /* The next element becomes the first one. */
    const uint32_t bits = element_bytes * 8 % 32;
    if (bits != 0) {
      TARN__UNROLL
      for (uint32_t w = 0; w < 3; w++) {
        words[w] = words[w] >> bits | words[w + 1] << (32 - bits);
      }
      words[3] >>= bits;
    } else {
      words[0] = element_bytes == 4 ? words[1] : words[2];
      words[1] = element_bytes == 4 ? words[2] : words[3];
      words[2] = words[3];
    }
  }
}

TARN__BODY void tarn__load_places(const tarn__kernel_run_args *args, tarn__item item,
                                  uint32_t places, uint32_t words[4]) {
  if (args->src_bytes == 1) {
    tarn__load_item(args, item, 1, places, words);
  } else if (args->src_bytes == 2) {
    tarn__load_item(args, item, 2, places < 8 ? places : 8, words);
  } else if (args->src_bytes == 4) {
    tarn__load_item(args, item, 4, places < 4 ? places : 4, words);
  } else if (args->src_bytes == 8) {
    tarn__load_item(args, item, 8, places < 2 ? places : 2, words);
  } else {
    tarn__load_item(args, item, 16, 1, words);
  }
}

TARN__BODY void tarn__convert_body(const tarn__kernel_run_args *args, uint32_t block,
                                   uint32_t thread, tarn__way way, uint32_t places) {
  const tarn__item item = tarn__find_item(args, block * TARN__KERNEL_THREADS + thread,
                                          tarn__shift_of(args->element_bytes));
  if (item.first == item.end) return;
  const bool is_whole = item.first == 0 && item.end == places;
  const uint32_t src_bytes = places * args->src_bytes;
  uint32_t in[4], out[4];
  if (is_whole && args->is_src_dense && (item.src & (src_bytes - 1)) == 0) {
    tarn__load_bytes(item.src, src_bytes, in);
  } else {
    tarn__load_places(args, item, places, in);
  }
  tarn__convert_words(way, args->dst_type, args->src_type, places, in, out);
  if (is_whole) {
    tarn__store_bytes(item.dst, places * args->element_bytes, out);
  } else {
    tarn__store_places(item.dst, args->element_bytes, item.first, item.end, out);
  }
}

/* --- by tiles: the source's elements are turned, and converted on their way out --- */

TARN__BODY void tarn__turn_load_any(const tarn__kernel_turn_args *args, uint32_t block,
                                    uint32_t thread, tarn__shared shared, uint32_t places) {
  const uint32_t dst_bytes = args->dst_bytes;
  if (args->src_bytes == 1) {
    tarn__turn_load(args, block, thread, shared, 1, dst_bytes);
  } else if (args->src_bytes == 2) {
    tarn__turn_load(args, block, thread, shared, 2, dst_bytes);
  } else if (args->src_bytes == 4 || places == 4) {
    tarn__turn_load(args, block, thread, shared, 4, dst_bytes);
  } else {
    tarn__turn_load(args, block, thread, shared, 8, dst_bytes);
  }
}

TARN__BODY void tarn__share_bytes(tarn__shared shared, uint32_t slot, uint32_t size_bytes,
                                  uint32_t words[4]) {
  TARN__UNROLL
  for (uint32_t w = 0; w < 4; w++) words[w] = 0;
  if (size_bytes == 16) {
    tarn__shared_load_128(shared, slot, words);
  } else if (size_bytes == 8) {
    tarn__shared_load_64(shared, slot, words);
  } else if (size_bytes == 4) {
    words[0] = tarn__shared_load_32(shared, slot);
  } else {
    words[0] = tarn__shared_load_16(shared, slot);
  }
}

TARN__BODY void tarn__turn_store_converted(const tarn__kernel_turn_args *args, uint32_t block,
                                           uint32_t thread, tarn__shared shared, tarn__way way,
                                           uint32_t places) {
  const uint32_t src_bytes = args->src_bytes, dst_bytes = args->dst_bytes;
  const uint32_t tile_i = TARN__TILE_I(src_bytes), tile_j = TARN__TILE_J(src_bytes);
  /* Powers of two, which the compiler cannot see: a division by a variable takes longer than all
   * the rest. */
  const uint32_t unit_shift = places == 4 ? 2 : 1;
  const uint32_t row_shift = (src_bytes <= 2 ? 7 : src_bytes == 4 ? 6 : 5) - unit_shift;
  const tarn__tile tile = tarn__find_tile(args, block, dst_bytes, tile_i, tile_j);
  TARN__ROLLED
  for (uint32_t unit = thread; unit >> row_shift < tile_j; unit += TARN__KERNEL_THREADS) {
    const uint32_t i = unit * places & (tile_i - 1), j = unit >> row_shift;
    if (i >= tile.size_i || j >= tile.size_j) continue;
    const uint64_t dst = tile.dst + (uint64_t)i * dst_bytes + (uint64_t)(j * args->dst_stride_j);
    const uint32_t end = tile.size_i - i < places ? tile.size_i - i : places;
    uint32_t in[4], out[4];
    tarn__share_bytes(shared, tarn__tile_slot(src_bytes, i, j), places * src_bytes, in);
    tarn__convert_words(way, args->dst_type, args->src_type, places, in, out);
    if (end == places && (dst & (places * dst_bytes - 1)) == 0) {
      tarn__store_bytes(dst, places * dst_bytes, out);
    } else {
      tarn__store_places(dst, dst_bytes, 0, end, out);
    }
  }
}

#endif
