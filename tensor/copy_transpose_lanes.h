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

/* Whether a block is whole lines: parts of several, in turn, would leave the processor's buffers
 * for streamed stores before they are full. */
#define STREAMS_BLOCKS (LANES == 4)

enum { NARROW_COUNT = 32, LINE_BYTES = 64, VEC_BYTES = 16 * LANES };

/* Where a tile is gathered first: its lines in the source may all want the same place in a cache,
 * and may end between two lanes. The room behind each line keeps lines apart here. */
enum { PACKED_ROOM = 64, TURNED_PITCH = LINE_BYTES + TARN__TILE_DST_BYTES };

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

/* One row that was turned in the caches goes out in whole lines. `to` is such a line, and the row's
 * bytes start `lead` into it; `row` has them in the same place. What is before them was left by the
 * tile before this one, and what is behind the last whole line is left for the next: the carried
 * part of a line. The two ends of a row of the plane go the usual way, through the caches. */
TILE_INLINE void stream_row(char *to, char *row, size_t lead, size_t count, char *carried,
                            bool is_first, bool is_last) {
  const size_t end = lead + count;
  size_t at = 0;
  if (lead != 0 && is_first) {
    copy_line(to + lead, row + lead, (end < LINE_BYTES ? end : LINE_BYTES) - lead);
    at = LINE_BYTES;
  } else if (lead != 0) {
    memcpy(row, carried, lead);
  }
  for (; at + LINE_BYTES <= end; at += LINE_BYTES) line_stream(to + at, row + at);
  if (at >= end) return;
  if (is_last) {
    copy_line(to + at, row + at, end - at);
  } else {
    memcpy(carried, row + at, LINE_BYTES);
  }
}

/* The lines of the tile ahead, one after the other. Where those of the source do not start at whole
 * lines, there is one more to each. */
typedef struct ahead {
  const char *line;
  int64_t pitch, at, end;
  bool is_odd;
} ahead;

TILE_INLINE ahead lines_ahead(const tarn__tile *tile, size_t bytes) {
  const bool is_odd =
      (((uintptr_t)tile->ahead | (uintptr_t)tile->src_pitch_bytes) % LINE_BYTES) != 0;
  const int64_t line_bytes = tile->row_count * (int64_t)bytes;
  return (ahead){tile->ahead, tile->src_pitch_bytes, 0, line_bytes + (is_odd ? LINE_BYTES : 0),
                 is_odd};
}

TILE_INLINE void call_for_line(ahead *next) {
  __builtin_prefetch(next->line + next->at, 0, 2);
  next->at += LINE_BYTES;
  if (next->at >= next->end) {
    next->at = 0;
    next->line += next->pitch;
  }
}

TILE_INLINE void call_for_lines(ahead *next, int count) {
  if (next->line == NULL) return;
#pragma GCC unroll 16
  for (int i = 0; i < count; i++) call_for_line(next);
  if (!next->is_odd) return;
#pragma GCC unroll 4
  for (int i = 0; i < (count + 3) / 4; i++) call_for_line(next);
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

/* The destination's lines of the block after the next, before they are written. Where a block has
 * many rows, that is as many calls and costs more than it saves (measured), but for kernels that
 * cannot stream: those have the large planes here, too. */
TILE_INLINE void call_for_rows(const tarn__tile *tile, int row, size_t bytes) {
  const int count = LANE_COUNT(bytes);
  if (tile->is_near || (LANES > 1 && count > 4) || row + 3 * count > tile->row_count) return;
  const char *line = tile->dst + (row + 2 * count) * tile->dst_pitch_bytes;
  for (int i = 0; i < count; i++) {
    for (int at = 0; at < tile->column_count * (int)bytes; at += LINE_BYTES) {
      __builtin_prefetch(line + at, 1, 3);
    }
    line += tile->dst_pitch_bytes;
  }
}

/* Straight from the source into the caches. Blocks at the edges reach back over the ones before
 * them, so that none is ragged. */
TILE_INLINE void turn_cached(const tarn__tile *tile, size_t bytes) {
  const int count = LANE_COUNT(bytes), width = LANES * count;
  const int last_row = tile->row_count - count, last_column = tile->column_count - width;
  ahead next = lines_ahead(tile, bytes);
  vec rows[16];
  for (int r = 0;; r += count) {
    if (r > last_row) r = last_row;
    const char *from = tile->src + r * (int64_t)bytes;
    char *to = tile->dst + r * tile->dst_pitch_bytes;
    call_for_rows(tile, r, bytes);
    for (int c = 0;; c += width) {
      if (c > last_column) c = last_column;
      turn_block(from + c * tile->src_pitch_bytes, tile->src_pitch_bytes, rows, bytes);
      put_block(to + c * (int64_t)bytes, tile->dst_pitch_bytes, rows, count, VEC_BYTES, false,
                bytes);
      call_for_lines(&next, count * VEC_BYTES / LINE_BYTES);
      if (c == last_column) break;
    }
    if (r == last_row) break;
  }
}

/* The rows of one block, which lie in `turned`, LINE_BYTES behind the start of each row there. */
TILE_INLINE void stream_rows(const tarn__tile *tile, int row, int row_count, char *turned,
                             size_t bytes) {
  char none[LINE_BYTES];
  for (int i = 0; i < row_count; i++) {
    char *to = tile->dst + (row + i) * tile->dst_pitch_bytes;
    char *carried = tile->carried != NULL ? tile->carried + (row + i) * LINE_BYTES : none;
    const size_t lead = (uintptr_t)to % LINE_BYTES;
    stream_row(to - lead, turned + i * TURNED_PITCH + LINE_BYTES - lead, lead,
               (size_t)tile->column_count * bytes, carried, tile->is_first || tile->carried == NULL,
               tile->is_last || tile->carried == NULL);
  }
}

/* By way of buffers, which have room for whole blocks. */
TILE_INLINE void turn_packed(const tarn__tile *tile, bool is_whole, size_t bytes) {
  _Alignas(64) char packed[TARN__TILE_BYTES];
  _Alignas(64) char turned[16 * TURNED_PITCH];
  const int count = LANE_COUNT(bytes);
  const size_t line_bytes = (size_t)tile->row_count * bytes;
  const int64_t pitch = (int64_t)((line_bytes + PACKED_ROOM + 63) & ~(size_t)63);
  for (int c = 0; c < tile->column_count; c++) {
    copy_line(packed + c * pitch, tile->src + c * tile->src_pitch_bytes, line_bytes);
  }
  ahead next = lines_ahead(tile, bytes);
  for (int r = 0; r < tile->row_count; r += count) {
    const int row_count = at_most_int(count, tile->row_count - r);
    const char *from = packed + r * (int64_t)bytes;
    char *to = tile->dst + r * tile->dst_pitch_bytes;
    if (!tile->is_streaming) {
      turn_rows(tile, to, tile->dst_pitch_bytes, from, pitch, row_count, false, &next, bytes);
    } else if (is_whole && row_count == count) {
      turn_rows(tile, to, tile->dst_pitch_bytes, from, pitch, row_count, true, &next, bytes);
    } else {
      turn_rows(tile, turned + LINE_BYTES, TURNED_PITCH, from, pitch, row_count, false, &next,
                bytes);
      stream_rows(tile, r, row_count, turned, bytes);
    }
  }
}

/* Straight from the source and around the caches. */
TILE_INLINE void turn_streamed(const tarn__tile *tile, size_t bytes) {
  const int count = LANE_COUNT(bytes);
  ahead next = lines_ahead(tile, bytes);
  for (int r = 0; r < tile->row_count; r += count) {
    turn_rows(tile, tile->dst + r * tile->dst_pitch_bytes, tile->dst_pitch_bytes,
              tile->src + r * (int64_t)bytes, tile->src_pitch_bytes, count, true, &next, bytes);
  }
}

/* One element after the other, for planes too narrow for a block. */
TILE_INLINE void turn_narrow(const tarn__tile *tile, size_t bytes) {
  for (int r = 0; r < tile->row_count; r++) {
    char *to = tile->dst + r * tile->dst_pitch_bytes;
    const char *from = tile->src + r * (int64_t)bytes;
    for (int c = 0; c < tile->column_count; c++) {
      memcpy(to + c * (int64_t)bytes, from + c * tile->src_pitch_bytes, bytes);
    }
  }
}

TILE_INLINE void turn_tile(const tarn__tile *tile, size_t bytes) {
  const int count = LANE_COUNT(bytes), width = LANES * count;
  const bool is_whole =
      STREAMS_BLOCKS && ((uintptr_t)tile->dst | (uintptr_t)tile->dst_pitch_bytes) % LINE_BYTES == 0;
  if (!tile->is_streaming && tile->row_count >= count && tile->column_count >= width) {
    turn_cached(tile, bytes);
  } else if (!tile->is_streaming &&
             (tile->row_count < count / 2 || tile->column_count < width / 2 ||
              tile->row_count * tile->column_count <= NARROW_COUNT)) {
    turn_narrow(tile, bytes);
  } else if (tile->is_streaming && is_whole && tile->is_direct && tile->row_count % count == 0 &&
             tile->column_count % width == 0) {
    turn_streamed(tile, bytes);
  } else {
    turn_packed(tile, is_whole, bytes);
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
