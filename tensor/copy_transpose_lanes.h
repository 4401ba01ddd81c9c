/* copy_transpose_lanes.h: the kernel of a transpose, written once for vectors of 1, 2 or 4 lanes.
 *
 * A lane has 16 bytes, LANE_COUNT(bytes) elements of one line of the source. A block is as many
 * vectors: lane l of vector i has a piece of line l * count + i. Interleaving vector i with
 * vector i + count / 2 moves the top bit of an element's vector number to the bottom of its place
 * in the lane, and the top bit of its place to the bottom of its vector number; log2(count) such
 * steps swap the two numbers, and each vector is then consecutive bytes of one row of the
 * destination:
 *
 *     a0 a1 a2 a3          a0 c0 a1 c1          a0 b0 c0 d0
 *     b0 b1 b2 b3    ->    a2 c2 a3 c3    ->    a1 b1 c1 d1
 *     c0 c1 c2 c3          b0 d0 b1 d1          a2 b2 c2 d2
 *     d0 d1 d2 d3          b2 d2 b3 d3          a3 b3 c3 d3
 *
 * Whoever includes this file has defined: vec; LANES; vec_gather, one lane from each of LANES
 * places; vec_low and vec_high, which interleave halves of lanes; vec_store, vec_stream; and
 * line_stream, which moves 64 aligned bytes around the caches. */
#ifndef TENSOR_COPY_TRANSPOSE_LANES_H
#define TENSOR_COPY_TRANSPOSE_LANES_H

#include <string.h>

#include "tensor/copy_transpose_tile.h"

#define TILE_INLINE static inline __attribute__((always_inline))
#define LANE_COUNT(bytes) (16 / (int)(bytes))

enum { LINE_BYTES = 64, VEC_BYTES = 16 * LANES };

/* Where a tile is gathered first: its lines in the source may all want the same place in a cache,
 * and may end between two lanes. The room behind each line keeps lines apart here. */
enum { PACKED_ROOM = 64 };

/* `bytes` is a constant in all that follows. */
TILE_INLINE void turn_block(const char *from, int64_t pitch, vec *rows, size_t bytes) {
  const int count = LANE_COUNT(bytes);
  vec next[16];
#pragma GCC unroll 16
  for (int i = 0; i < count; i++) rows[i] = vec_gather(from + i * pitch, count * pitch);
#pragma GCC unroll 4
  for (int step = 1; step < count; step *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; i++) {
      next[2 * i] = vec_low(rows[i], rows[i + count / 2], bytes);
      next[2 * i + 1] = vec_high(rows[i], rows[i + count / 2], bytes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) rows[i] = next[i];
  }
}

/* 0 < count < 16, in moves of fixed size that may overlap. */
TILE_INLINE void copy_few(char *to, const char *from, size_t count) {
  if (count >= 8) {
    memcpy(to, from, 8);
    memcpy(to + count - 8, from + count - 8, 8);
  } else if (count >= 4) {
    memcpy(to, from, 4);
    memcpy(to + count - 4, from + count - 4, 4);
  } else {
    to[0] = from[0];
    if (count >= 2) memcpy(to + count - 2, from + count - 2, 2);
  }
}

TILE_INLINE void copy_line(char *to, const char *from, size_t count) {
  if (count < 16) {
    copy_few(to, from, count);
    return;
  }
  size_t at = 0;
  for (; at + LINE_BYTES <= count; at += LINE_BYTES) memcpy(to + at, from + at, LINE_BYTES);
  for (; at + 16 <= count; at += 16) memcpy(to + at, from + at, 16);
  if (at < count) memcpy(to + count - 16, from + count - 16, 16);
}

/* Rows that were turned in the caches go out in whole lines; what is before the first and behind
 * the last line goes the usual way. */
TILE_INLINE void stream_row(char *to, const char *from, size_t count) {
  const size_t lead = (size_t)(-(uintptr_t)to % LINE_BYTES);
  if (lead + LINE_BYTES > count) {
    copy_line(to, from, count);
    return;
  }
  if (lead != 0) copy_line(to, from, lead);
  size_t at = lead;
  for (; at + LINE_BYTES <= count; at += LINE_BYTES) line_stream(to + at, from + at);
  if (at < count) copy_line(to + at, from + at, count - at);
}

/* The lines of the tile ahead, one after the other. */
typedef struct ahead {
  const char *line;
  int64_t pitch, at, end;
} ahead;

TILE_INLINE void call_for_lines(ahead *next, int count) {
  if (next->line == NULL) return;
#pragma GCC unroll 16
  for (int i = 0; i < count; i++) {
    __builtin_prefetch(next->line + next->at, 0, 2);
    next->at += LINE_BYTES;
    if (next->at >= next->end) {
      next->at = 0;
      next->line += next->pitch;
    }
  }
}

/* One block's rows to their place; fewer of them, and fewer bytes, at a ragged edge. */
TILE_INLINE void put_block(char *to, int64_t pitch, const vec *rows, int row_count, int byte_count,
                           bool is_streaming, size_t bytes) {
  const int count = LANE_COUNT(bytes);
  if (row_count == count && byte_count == VEC_BYTES) {
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) {
      if (is_streaming) {
        vec_stream(to + i * pitch, rows[i]);
      } else {
        vec_store(to + i * pitch, rows[i]);
      }
    }
    return;
  }
  char whole[16 * VEC_BYTES];
#pragma GCC unroll 16
  for (int i = 0; i < count; i++) vec_store(whole + i * VEC_BYTES, rows[i]);
  for (int i = 0; i < row_count; i++) {
    copy_line(to + i * pitch, whole + i * VEC_BYTES, (size_t)byte_count);
  }
}

TILE_INLINE int at_most_int(int a, int b) {
  return a < b ? a : b;
}

/* As many rows as a lane has elements. */
TILE_INLINE void turn_rows(const tarn__tile *tile, char *to, int64_t to_pitch, const char *from,
                           int64_t from_pitch, int row_count, bool is_streaming, ahead *next,
                           size_t bytes) {
  const int width = LANES * LANE_COUNT(bytes);
  vec rows[16];
  for (int c = 0; c < tile->column_count; c += width) {
    const int byte_count = at_most_int(width, tile->column_count - c) * (int)bytes;
    turn_block(from + c * from_pitch, from_pitch, rows, bytes);
    put_block(to + c * (int64_t)bytes, to_pitch, rows, row_count, byte_count, is_streaming, bytes);
    call_for_lines(next, LANE_COUNT(bytes) * VEC_BYTES / LINE_BYTES);
  }
}

TILE_INLINE void turn_tile(const tarn__tile *tile, size_t bytes) {
  _Alignas(64) char packed[TARN__TILE_BYTES];
  _Alignas(64) char turned[16 * TARN__TILE_DST_BYTES];
  const int count = LANE_COUNT(bytes);
  const size_t line_bytes = (size_t)tile->row_count * bytes;
  const int64_t pitch = (int64_t)((line_bytes + PACKED_ROOM + 63) & ~(size_t)63);
  for (int c = 0; c < tile->column_count; c++) {
    copy_line(packed + c * pitch, tile->src + c * tile->src_pitch_bytes, line_bytes);
  }
  const bool is_whole =
      LANES == 4 && ((uintptr_t)tile->dst | (uintptr_t)tile->dst_pitch_bytes) % LINE_BYTES == 0;
  ahead next = {tile->ahead, tile->src_pitch_bytes, 0, (int64_t)line_bytes};
  for (int r = 0; r < tile->row_count; r += count) {
    const int row_count = at_most_int(count, tile->row_count - r);
    const char *from = packed + r * (int64_t)bytes;
    char *to = tile->dst + r * tile->dst_pitch_bytes;
    if (!tile->is_streaming) {
      turn_rows(tile, to, tile->dst_pitch_bytes, from, pitch, row_count, false, &next, bytes);
    } else if (is_whole) {
      turn_rows(tile, to, tile->dst_pitch_bytes, from, pitch, row_count, true, &next, bytes);
    } else {
      turn_rows(tile, turned, TARN__TILE_DST_BYTES, from, pitch, row_count, false, &next, bytes);
      for (int i = 0; i < row_count; i++) {
        stream_row(to + i * tile->dst_pitch_bytes, turned + i * TARN__TILE_DST_BYTES,
                   (size_t)tile->column_count * bytes);
      }
    }
  }
}

static void tile_1(const tarn__tile *tile) {
  turn_tile(tile, 1);
}
static void tile_2(const tarn__tile *tile) {
  turn_tile(tile, 2);
}
static void tile_4(const tarn__tile *tile) {
  turn_tile(tile, 4);
}
static void tile_8(const tarn__tile *tile) {
  turn_tile(tile, 8);
}
static void tile_16(const tarn__tile *tile) {
  turn_tile(tile, 16);
}

#endif
