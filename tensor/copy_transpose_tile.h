/* copy_transpose_tile.h: what a kernel of a transpose does: one tile, as large as a first-level
 * cache likes. */
#ifndef TENSOR_COPY_TRANSPOSE_TILE_H
#define TENSOR_COPY_TRANSPOSE_TILE_H

#include <stdbool.h>
#include <stdint.h>

/* A tile's limits, in bytes: of a row of the destination, and of a line of the source. */
enum { TARN__TILE_DST_BYTES = 512, TARN__TILE_SRC_BYTES = 512, TARN__TILE_BYTES = 32768 };

/* As in a tarn__transpose. `ahead` is the source of the tile that follows, of the same size, or
 * NULL: its lines are called for while this one is written. Where rows are streamed that do not
 * start at whole lines, `carried` has room for 64 bytes of each, from one tile of a row to the
 * next; it is NULL where no line is shared. */
typedef struct tarn__tile {
  char *dst;
  const char *src, *ahead;
  int64_t dst_pitch_bytes, src_pitch_bytes;
  int32_t row_count, column_count;
  bool is_streaming;
  bool is_direct;         /* a source of few lines is not packed first */
  bool is_near;           /* all is cached already, and nothing is called for */
  bool is_first, is_last; /* of the tiles of these rows */
  char *carried;
} tarn__tile;

typedef void tarn__tile_function(const tarn__tile *tile);

typedef struct tarn__tile_kernels {
  tarn__tile_function *turn[5]; /* by element size: 1, 2, 4, 8, 16 bytes */
  void (*finish)(void);         /* after streamed tiles; NULL where none stream */
} tarn__tile_kernels;

extern const tarn__tile_kernels tarn__tile_portable, tarn__tile_avx2, tarn__tile_avx512;

#endif
