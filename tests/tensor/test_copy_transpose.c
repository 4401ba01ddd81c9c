/* test_copy_transpose.c: every kernel turns every shape as a plain loop does, and nothing else. */
#include <stdlib.h>
#include <string.h>

#include "tensor/copy_transpose.h"
#include "tensor/cpu_level.h"
#include "tests/support/test.h"

enum { GUARD = 0xA5, MARGIN = 128 };

typedef struct side {
  char *block; /* exactly as long as needed, so that a sanitizer sees a byte too many */
  size_t block_bytes;
  char *first; /* the element at index 0, 0 */
} side;

/* `line_count` lines of `line_bytes`, `pitch` apart, in a block with `margin` bytes before and
 * after; the first byte lies `shift` behind a 64-byte boundary of an allocation. */
static side make_side(int64_t line_count, int64_t line_bytes, int64_t pitch, size_t margin,
                      size_t shift) {
  int64_t distance = pitch < 0 ? -pitch : pitch;
  size_t extent = (size_t)((line_count - 1) * distance + line_bytes);
  side made = {.block_bytes = margin + shift + extent + margin};
  void *memory = NULL;
  assert_int_equal(posix_memalign(&memory, 64, made.block_bytes), 0);
  made.block = memory;
  made.first = made.block + margin + shift + (pitch < 0 ? (line_count - 1) * distance : 0);
  return made;
}

typedef struct shape {
  int64_t rows, columns;
  int64_t dst_gap, src_gap; /* bytes between lines */
  size_t dst_shift, src_shift;
  bool dst_is_flipped, src_is_flipped, is_streaming;
} shape;

static void fill(side *src) {
  uint32_t value = 12345;
  for (size_t i = 0; i < src->block_bytes; i++) {
    value = value * 1664525 + 1013904223;
    src->block[i] = (char)(value >> 24);
  }
}

static void check_shape(const shape *with, size_t bytes) {
  const int64_t unit = (int64_t)bytes;
  tarn__transpose plane = {.row_count = with->rows,
                           .column_count = with->columns,
                           .dst_pitch_bytes = with->columns * unit + with->dst_gap,
                           .src_pitch_bytes = with->rows * unit + with->src_gap,
                           .element_bytes = bytes,
                           .is_streaming = with->is_streaming};
  if (with->dst_is_flipped) plane.dst_pitch_bytes = -plane.dst_pitch_bytes;
  if (with->src_is_flipped) plane.src_pitch_bytes = -plane.src_pitch_bytes;
  side src = make_side(with->columns, with->rows * unit, plane.src_pitch_bytes, 0, with->src_shift);
  side dst =
      make_side(with->rows, with->columns * unit, plane.dst_pitch_bytes, MARGIN, with->dst_shift);
  fill(&src);
  memset(dst.block, GUARD, dst.block_bytes);
  char *expected = malloc(dst.block_bytes);
  assert_non_null(expected);
  memset(expected, GUARD, dst.block_bytes);
  for (int64_t r = 0; r < with->rows; r++) {
    for (int64_t c = 0; c < with->columns; c++) {
      memcpy(expected + (dst.first - dst.block) + r * plane.dst_pitch_bytes + c * unit,
             src.first + c * plane.src_pitch_bytes + r * unit, bytes);
    }
  }
  tarn__transpose_run(&plane, dst.first, src.first);
  if (memcmp(dst.block, expected, dst.block_bytes) != 0) {
    fail_msg("level %d: %zu bytes, %ld x %ld, gaps %ld %ld, shifts %zu %zu, flips %d %d, stream %d",
             (int)tarn__cpu_level_now(), bytes, (long)with->rows, (long)with->columns,
             (long)with->dst_gap, (long)with->src_gap, with->dst_shift, with->src_shift,
             with->dst_is_flipped, with->src_is_flipped, with->is_streaming);
  }
  free(expected);
  free(src.block);
  free(dst.block);
}

/* Every element size, on every level of this machine, cached and streamed. */
static void check_everywhere(shape with) {
  for (int level = TARN__CPU_PORTABLE; level <= (int)tarn__cpu_level_detect(); level++) {
    tarn__cpu_level_limit((tarn__cpu_level)level);
    for (size_t bytes = 1; bytes <= 16; bytes *= 2) {
      for (int streaming = 0; streaming < 2; streaming++) {
        with.is_streaming = streaming;
        check_shape(&with, bytes);
      }
    }
  }
  tarn__cpu_level_limit(TARN__CPU_AVX512);
}

TEST(planes_of_few_elements_are_turned) {
  for (int64_t rows = 1; rows <= 20; rows++) {
    for (int64_t columns = 1; columns <= 20; columns++) {
      check_everywhere((shape){.rows = rows, .columns = columns});
    }
  }
}

TEST(edges_of_blocks_are_turned) {
  const int64_t sizes[] = {31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 255, 256, 257};
  const int count = sizeof sizes / sizeof *sizes;
  for (int i = 0; i < count; i++) {
    for (int j = 0; j < count; j++) {
      check_everywhere((shape){.rows = sizes[i], .columns = sizes[j], .dst_gap = 64});
    }
  }
}

TEST(long_and_narrow_planes_are_turned) {
  for (int64_t narrow = 1; narrow <= 35; narrow += 2) {
    check_everywhere((shape){.rows = narrow, .columns = 1500});
    check_everywhere((shape){.rows = 1500, .columns = narrow});
  }
}

TEST(planes_of_several_strips_are_turned) {
  check_everywhere((shape){.rows = 2100, .columns = 160, .src_gap = 64});
  check_everywhere((shape){.rows = 2113, .columns = 77, .dst_gap = 3, .src_gap = 5});
}

TEST(any_pitch_and_any_address_will_do) {
  const int64_t gaps[] = {0, 1, 3, 16, 64, 100};
  const size_t shifts[] = {0, 1, 4, 7, 16, 48, 63};
  for (int g = 0; g < 6; g++) {
    for (int s = 0; s < 7; s++) {
      check_everywhere((shape){.rows = 130,
                               .columns = 190,
                               .dst_gap = gaps[g],
                               .src_gap = gaps[5 - g],
                               .dst_shift = shifts[s],
                               .src_shift = shifts[(s + g) % 7]});
    }
  }
}

TEST(a_whole_line_pitch_at_an_odd_address_will_do) {
  for (size_t shift = 0; shift < 64; shift += 4) {
    check_everywhere((shape){
        .rows = 192, .columns = 256, .dst_shift = shift, .src_shift = (shift * 5 + 16) % 64});
  }
}

TEST(pitches_may_be_negative) {
  for (int flips = 1; flips < 4; flips++) {
    check_everywhere((shape){.rows = 70,
                             .columns = 150,
                             .dst_gap = 12,
                             .dst_is_flipped = (flips & 1) != 0,
                             .src_is_flipped = (flips & 2) != 0});
    check_everywhere((shape){.rows = 1100,
                             .columns = 64,
                             .dst_is_flipped = (flips & 1) != 0,
                             .src_is_flipped = (flips & 2) != 0});
  }
}

TEST(random_planes_are_turned) {
  uint32_t seed = 1;
  for (int i = 0; i < 400; i++) {
    int64_t drawn[6];
    for (int k = 0; k < 6; k++) {
      seed = seed * 1664525 + 1013904223;
      drawn[k] = seed >> 16;
    }
    check_everywhere((shape){.rows = drawn[0] % (i % 2 == 0 ? 40 : 300) + 1,
                             .columns = drawn[1] % (i % 4 < 2 ? 40 : 300) + 1,
                             .dst_gap = drawn[2] % 70,
                             .src_gap = drawn[3] % 70,
                             .dst_shift = (size_t)(drawn[4] % 64),
                             .src_shift = (size_t)(drawn[5] % 64),
                             .dst_is_flipped = i % 8 == 3,
                             .src_is_flipped = i % 8 == 5});
  }
}

/* Planes of `rows` x `columns`, 3 x 5 of them, with the elements of the source between each other
 * and those of the destination apart. */
static void check_planes(int64_t rows, int64_t columns, size_t bytes, bool is_streaming) {
  const int64_t unit = (int64_t)bytes, line = 3 * rows * unit;
  const int64_t counts[2] = {5, 3};
  const int64_t src_strides[2] = {columns * line, rows * unit};
  const int64_t dst_strides[2] = {rows * columns * unit, 5 * rows * columns * unit};
  const tarn__transpose plane = {.row_count = rows,
                                 .column_count = columns,
                                 .dst_pitch_bytes = columns * unit,
                                 .src_pitch_bytes = line,
                                 .element_bytes = bytes,
                                 .is_streaming = is_streaming};
  side src = make_side(5 * columns, line, line, 0, 0);
  side dst = make_side(15 * rows, columns * unit, columns * unit, MARGIN, 0);
  fill(&src);
  memset(dst.block, GUARD, dst.block_bytes);
  tarn__transpose_run_all(&plane, 2, counts, dst_strides, src_strides, dst.first, src.first);
  for (int64_t i = 0; i < 15; i++) {
    const char *to = dst.first + i / 3 * dst_strides[0] + i % 3 * dst_strides[1];
    const char *from = src.first + i / 3 * src_strides[0] + i % 3 * src_strides[1];
    for (int64_t at = 0; at < rows * columns; at++) {
      const int64_t r = at / columns, c = at % columns;
      assert_memory_equal(to + at * unit, from + c * line + r * unit, bytes);
    }
  }
  for (int i = 0; i < MARGIN; i++) {
    assert_int_equal((unsigned char)dst.block[i], GUARD);
    assert_int_equal((unsigned char)dst.block[dst.block_bytes - 1 - (size_t)i], GUARD);
  }
  free(src.block);
  free(dst.block);
}

TEST(many_planes_are_turned_by_one_call) {
  const int64_t sizes[][2] = {{1, 1}, {2, 3}, {8, 32}, {64, 64}, {17, 33}, {16, 300}, {300, 20}};
  for (int level = TARN__CPU_PORTABLE; level <= (int)tarn__cpu_level_detect(); level++) {
    tarn__cpu_level_limit((tarn__cpu_level)level);
    for (size_t bytes = 1; bytes <= 16; bytes *= 2) {
      for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_planes(sizes[i][0], sizes[i][1], bytes, /*is_streaming=*/false);
        check_planes(sizes[i][0], sizes[i][1], bytes, /*is_streaming=*/true);
      }
    }
  }
  tarn__cpu_level_limit(TARN__CPU_AVX512);
}

TEST(sizes_of_elements_that_it_turns_are_named) {
  for (size_t bytes = 0; bytes < 40; bytes++) {
    bool can = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16;
    assert_int_equal(tarn__transpose_can(bytes), can);
  }
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
