/* kernel_turn.h: bodies of the kernels that turn: dense along i in one memory, j in the other.
 *
 * A block turns one tile of 16 KiB through shared memory, whose row j holds the elements along i:
 *
 *     source: rows along j          shared: rows along i           destination: rows along i
 *     i=0  [j0 j1 j2 ...]           j=0  [g0|g1|g2| ...]           j=0  [i0 i1 i2 ...]
 *     i=1  [j0 j1 j2 ...]    ->     j=1  [g0|g1|g2| ...]    ->     j=1  [i0 i1 i2 ...]
 *
 * Global memory is read and written 16 bytes a thread, eight threads side by side to a line of 128
 * bytes or more on both sides. Each of 256 threads has four loads under way before it writes any of
 * them to shared memory: 16 KiB a block, and 64 KB or more a processor, which holds at least four
 * blocks (16 KiB of shared memory and at most 64 registers each). Elements of one and two bytes are
 * first turned in registers, so that words of 32 bits go to shared memory: four rows of bytes, two
 * of pairs of bytes.
 *
 * A warp writes for each k a column of the tile: eight j's that are 16 bytes apart in the source,
 * of four neighbouring words along i. Rows are multiples of 128 bytes, so all of these lie in the
 * same four banks; hence group g of 16 bytes stands at g ^ (j's chunk of 16 bytes mod 8), which
 * spreads them over all 32. Reading back, eight neighbouring threads read eight neighbouring groups
 * of one row: all 32 banks again, in another order. No access has a conflict;
 * tests/cuda/test_kernel_access.c counts them. */
#ifndef CUDA_KERNEL_TURN_H
#define CUDA_KERNEL_TURN_H

#include "cuda/kernel_args.h"
#include "cuda/kernel_run.h"

/* Where element (i, j) of a tile stands in shared memory. */
TARN__BODY uint32_t tarn__tile_slot(uint32_t element_bytes, uint32_t i, uint32_t j) {
  const uint32_t row_bytes = TARN__TILE_I(element_bytes) * element_bytes;
  const uint32_t along = i * element_bytes;
  const uint32_t swizzle = j * element_bytes / 16 % 8;
  return j * row_bytes + ((along / 16 ^ swizzle) * 16 | along % 16);
}

/* --- which tile --- */

typedef struct tarn__tile {
  uint64_t dst; /* of the tile's first element */
  uint64_t src;
  uint32_t size_i; /* of what is there, at most a tile */
  uint32_t size_j;
} tarn__tile;

TARN__BODY tarn__tile tarn__find_tile(const tarn__kernel_turn_args *args, uint32_t block,
                                      uint32_t dst_bytes, uint32_t tile_i, uint32_t tile_j) {
  const uint32_t plane_tiles = args->tiles_i * args->tiles_j;
  const uint32_t plane = block / plane_tiles;
  const uint32_t rest = block - plane * plane_tiles;
  const uint32_t group_tiles = args->tiles_i * TARN__TILE_GROUP;
  const uint32_t group = rest / group_tiles;
  const uint32_t first_j = group * TARN__TILE_GROUP;
  const uint32_t left_j = args->tiles_j - first_j;
  const uint32_t width = left_j < TARN__TILE_GROUP ? left_j : TARN__TILE_GROUP;
  const uint32_t place = rest - group * group_tiles;
  const uint32_t at_i = place / width * tile_i;
  const uint32_t at_j = (first_j + place % width) * tile_j;
  tarn__tile tile;
  tile.dst = args->dst + (uint64_t)at_i * dst_bytes + (uint64_t)(at_j * args->dst_stride_j);
  tile.src =
      args->src + (uint64_t)(at_i * args->src_stride_i) + (uint64_t)(at_j * args->src_stride_j);
  tarn__walk_digits(args->digits, args->digit_count, plane, &tile.dst, &tile.src);
  tile.size_i = args->size_i - at_i < tile_i ? args->size_i - at_i : tile_i;
  tile.size_j = args->size_j - at_j < tile_j ? args->size_j - at_j : tile_j;
  return tile;
}

/* --- from the source to shared memory --- */

/* A patch: 16 bytes along j of `rows` neighbours along i, enough for words of 32 bits. Its rows
 * are whole, by one load or by four. */
TARN__BODY void tarn__load_patch_row(const tarn__kernel_turn_args *args, const tarn__tile *tile,
                                     uint32_t element_bytes, uint32_t i, uint32_t j,
                                     uint32_t words[4]) {
  TARN__UNROLL
  for (uint32_t w = 0; w < 4; w++) words[w] = 0;
  if (i >= tile->size_i || j >= tile->size_j) return;
  const uint64_t src =
      tile->src + (uint64_t)(i * args->src_stride_i) + (uint64_t)(j * args->src_stride_j);
  if (element_bytes < 4 && args->src_unit == 4) {
    TARN__UNROLL
    for (uint32_t w = 0; w < 4; w++) words[w] = tarn__load_32(src + w * 4);
  } else {
    tarn__load_128(src, words);
  }
}

/* Column k of the patch as one word: an element of each of its rows. */
TARN__BODY uint32_t tarn__patch_word(uint32_t element_bytes, uint32_t k, uint32_t words[4][4]) {
  if (element_bytes == 1) {
    const uint32_t w = k / 4, shift = k % 4 * 8;
    return (words[0][w] >> shift & 0xFF) | (words[1][w] >> shift & 0xFF) << 8 |
           (words[2][w] >> shift & 0xFF) << 16 | (words[3][w] >> shift & 0xFF) << 24;
  }
  const uint32_t w = k / 2, shift = k % 2 * 16;
  return (words[0][w] >> shift & 0xFFFF) | (words[1][w] >> shift & 0xFFFF) << 16;
}

TARN__BODY void tarn__share_patch(tarn__shared shared, uint32_t element_bytes, uint32_t i,
                                  uint32_t j, uint32_t words[4][4]) {
  TARN__UNROLL
  for (uint32_t k = 0; k < 16 / element_bytes; k++) {
    const uint32_t slot = tarn__tile_slot(element_bytes, i, j + k);
    if (element_bytes <= 2) {
      tarn__shared_store_32(shared, slot, tarn__patch_word(element_bytes, k, words));
    } else if (element_bytes == 4) {
      tarn__shared_store_32(shared, slot, words[0][k]);
    } else if (element_bytes == 8) {
      tarn__shared_store_64(shared, slot, words[0] + k * 2);
    } else {
      tarn__shared_store_128(shared, slot, words[0]);
    }
  }
}

TARN__BODY void tarn__load_patches(const tarn__kernel_turn_args *args, const tarn__tile *tile,
                                   uint32_t thread, tarn__shared shared, uint32_t element_bytes) {
  const uint32_t rows = element_bytes == 1 ? 4 : element_bytes == 2 ? 2 : 1; /* of a patch */
  const uint32_t patches = 4 / rows;                                         /* of a thread */
  const uint32_t blocks_j = TARN__TILE_J(element_bytes) * element_bytes / 128;
  uint32_t words[4][4]; /* the patches' rows, one after the other */
  TARN__UNROLL
  for (uint32_t p = 0; p < 4; p++) {
    const uint32_t part = (thread + p / rows * TARN__KERNEL_THREADS) / 32;
    const uint32_t i = (part / blocks_j * 4 + thread / 8 % 4) * rows + p % rows;
    const uint32_t j = (part % blocks_j * 8 + thread % 8) * (16 / element_bytes);
    tarn__load_patch_row(args, tile, element_bytes, i, j, words[p]);
  }
  TARN__UNROLL
  for (uint32_t p = 0; p < patches; p++) {
    const uint32_t part = (thread + p * TARN__KERNEL_THREADS) / 32;
    const uint32_t i = (part / blocks_j * 4 + thread / 8 % 4) * rows;
    const uint32_t j = (part % blocks_j * 8 + thread % 8) * (16 / element_bytes);
    tarn__share_patch(shared, element_bytes, i, j, words + p * rows);
  }
}

/* Where the source's rows begin anywhere, are not dense, or end within 16 bytes: an element a
 * thread, side by side along j. These do have conflicts in shared memory, which cost elements of
 * one and two bytes more than the memory does. */
TARN__BODY void tarn__load_elements(const tarn__kernel_turn_args *args, const tarn__tile *tile,
                                    uint32_t thread, tarn__shared shared, uint32_t element_bytes) {
  const uint32_t tile_j = TARN__TILE_J(element_bytes);
  TARN__UNROLL_4
  for (uint32_t e = thread; e < TARN__TILE_I(element_bytes) * tile_j; e += TARN__KERNEL_THREADS) {
    const uint32_t i = e / tile_j, j = e % tile_j;
    if (i >= tile->size_i || j >= tile->size_j) continue;
    const uint64_t src =
        tile->src + (uint64_t)(i * args->src_stride_i) + (uint64_t)(j * args->src_stride_j);
    const uint32_t slot = tarn__tile_slot(element_bytes, i, j);
    uint32_t words[4];
    if (element_bytes == 1) {
      tarn__shared_store_8(shared, slot, tarn__load_8(src));
    } else if (element_bytes == 2) {
      tarn__shared_store_16(shared, slot, tarn__load_16(src));
    } else if (element_bytes == 4) {
      tarn__shared_store_32(shared, slot, tarn__load_32(src));
    } else if (element_bytes == 8) {
      tarn__load_64(src, words);
      tarn__shared_store_64(shared, slot, words);
    } else {
      tarn__load_128(src, words);
      tarn__shared_store_128(shared, slot, words);
    }
  }
}

TARN__BODY void tarn__turn_load(const tarn__kernel_turn_args *args, uint32_t block, uint32_t thread,
                                tarn__shared shared, uint32_t element_bytes, uint32_t dst_bytes) {
  const tarn__tile tile = tarn__find_tile(args, block, dst_bytes, TARN__TILE_I(element_bytes),
                                          TARN__TILE_J(element_bytes));
  const bool has_patches = args->src_unit == 16 || (args->src_unit == 4 && element_bytes < 4);
  if (has_patches && tile.size_j % (16 / element_bytes) == 0) {
    tarn__load_patches(args, &tile, thread, shared, element_bytes);
  } else {
    tarn__load_elements(args, &tile, thread, shared, element_bytes);
  }
}

/* --- from shared memory to the destination --- */

TARN__BODY void tarn__turn_store_chunks(const tarn__kernel_turn_args *args, const tarn__tile *tile,
                                        uint32_t thread, tarn__shared shared,
                                        uint32_t element_bytes) {
  const uint32_t places = 16 / element_bytes;
  const uint32_t row_chunks = TARN__TILE_I(element_bytes) / places;
  TARN__UNROLL
  for (uint32_t p = 0; p < 4; p++) {
    const uint32_t chunk = thread + p * TARN__KERNEL_THREADS;
    const uint32_t i = chunk % row_chunks * places, j = chunk / row_chunks;
    if (i >= tile->size_i || j >= tile->size_j) continue;
    const uint64_t dst =
        tile->dst + (uint64_t)i * element_bytes + (uint64_t)(j * args->dst_stride_j);
    uint32_t words[4];
    tarn__shared_load_128(shared, tarn__tile_slot(element_bytes, i, j), words);
    if (i + places <= tile->size_i) {
      tarn__store_128(dst, words);
      continue;
    }
    TARN__UNROLL
    for (uint32_t k = 0; k < places; k++) {
      if (i + k < tile->size_i) {
        tarn__store_element(dst + k * element_bytes, element_bytes, k, words);
      }
    }
  }
}

/* Where the destination's rows begin anywhere: one element, or four bytes of smaller ones, a
 * thread, so that a warp's stores are side by side all the same. */
TARN__BODY void tarn__turn_store_units(const tarn__kernel_turn_args *args, const tarn__tile *tile,
                                       uint32_t thread, tarn__shared shared, uint32_t element_bytes,
                                       uint32_t unit_bytes) {
  const uint32_t places = unit_bytes / element_bytes;
  const uint32_t row_units = TARN__TILE_I(element_bytes) / places;
  TARN__ROLLED
  for (uint32_t unit = thread; unit < row_units * TARN__TILE_J(element_bytes);
       unit += TARN__KERNEL_THREADS) {
    const uint32_t i = unit % row_units * places, j = unit / row_units;
    if (i >= tile->size_i || j >= tile->size_j) continue;
    const uint64_t dst =
        tile->dst + (uint64_t)i * element_bytes + (uint64_t)(j * args->dst_stride_j);
    const uint32_t slot = tarn__tile_slot(element_bytes, i, j);
    uint32_t words[4];
    if (unit_bytes == 1) {
      tarn__store_8(dst, tarn__shared_load_8(shared, slot));
    } else if (unit_bytes == 2) {
      tarn__store_16(dst, tarn__shared_load_16(shared, slot));
    } else if (unit_bytes == 8) {
      tarn__shared_load_64(shared, slot, words);
      tarn__store_64(dst, words);
    } else if (unit_bytes == 16) {
      tarn__shared_load_128(shared, slot, words);
      tarn__store_128(dst, words);
    } else if (i + places <= tile->size_i) {
      tarn__store_32(dst, tarn__shared_load_32(shared, slot));
    } else {
      words[0] = tarn__shared_load_32(shared, slot);
      TARN__UNROLL
      for (uint32_t k = 0; k < places; k++) {
        if (i + k < tile->size_i) {
          tarn__store_element(dst + k * element_bytes, element_bytes, k, words);
        }
      }
    }
  }
}

TARN__BODY void tarn__turn_store(const tarn__kernel_turn_args *args, uint32_t block,
                                 uint32_t thread, tarn__shared shared, uint32_t element_bytes) {
  const tarn__tile tile = tarn__find_tile(args, block, element_bytes, TARN__TILE_I(element_bytes),
                                          TARN__TILE_J(element_bytes));
  if (args->dst_unit == 16) {
    tarn__turn_store_chunks(args, &tile, thread, shared, element_bytes);
  } else if (args->dst_unit == 4 && element_bytes < 4) {
    tarn__turn_store_units(args, &tile, thread, shared, element_bytes, 4);
  } else {
    tarn__turn_store_units(args, &tile, thread, shared, element_bytes, element_bytes);
  }
}

#endif
