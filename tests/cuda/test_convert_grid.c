/* test_convert_grid.c: kernels convert every pair of types bit for bit as the CPU's copies do. */
#include "tensor/convert.h"
#include "tests/cuda/grid_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static tarn_dtype all_types[17];
enum { TYPE_COUNT = sizeof all_types / sizeof all_types[0] };

static void list_types(void) {
  const tarn_dtype types[TYPE_COUNT] = {TARN_BOOL,
                                        TARN_I8,
                                        TARN_I16,
                                        TARN_I32,
                                        TARN_I64,
                                        TARN_U8,
                                        TARN_U16,
                                        TARN_U32,
                                        TARN_U64,
                                        TARN_F16,
                                        TARN_BF16,
                                        tarn_dtype_make(TARN_CODE_FLOAT8_E4M3FN, 8, 1),
                                        tarn_dtype_make(TARN_CODE_FLOAT8_E5M2, 8, 1),
                                        TARN_F32,
                                        TARN_F64,
                                        TARN_C64,
                                        TARN_C128};
  memcpy(all_types, types, sizeof types);
}

static tarn_element_type element_type(tarn_dtype dtype) {
  return (tarn_element_type){dtype.code, dtype.bits, dtype.lanes};
}

static void convert_element(void *context, char *dst, const char *src) {
  tarn__convert_row(context, dst, src, 1, /*is_streaming=*/false);
}

/* --- values --- */

/* Bits of a number of `bits` that rounding, ranges and NaN make interesting. */
static uint64_t interesting(uint64_t *random, int bits) {
  static const double numbers[] = {0.0,     1.0,     0.5,         1.5,         2.5,
                                   127.5,   128.0,   255.5,       448.0,       464.0,
                                   57344.0, 61440.0, 65504.0,     65519.999,   65520.0,
                                   32767.5, 65535.5, 2147483647., 2147483648., 4294967295.5,
                                   5.9e-8,  2.98e-8, 6.1e-5,      1.0 / 3.0,   9223372036854774784.,
                                   9.3e18,  1.9e19,  3.4e38,      3.5e38,      1e-40,
                                   1e-45,   7e-46,   1e300,       1e-310,      0.0009765625};
  const size_t count = sizeof numbers / sizeof numbers[0];
  double number = numbers[grid_below(random, count)];
  uint64_t word = grid_random(random);
  const bool is_negative = grid_below(random, 2) != 0;
  if (is_negative) number = -number;
  switch (grid_below(random, 4)) {
    case 0: /* any bits */
      break;
    case 1: /* a power of two and its neighbours */
      word = (UINT64_C(1) << grid_below(random, (uint64_t)bits)) + grid_below(random, 3) - 1;
      if (is_negative) word = 0 - word;
      break;
    case 2: /* infinities, and NaN with few bits of payload */
      word = (bits == 64   ? UINT64_C(0x7FF) << 52
              : bits == 32 ? UINT64_C(0xFF) << 23
                           : UINT64_C(0x1F) << 10 << 3 * grid_below(random, 2)) |
             (grid_below(random, 2) != 0 ? UINT64_C(1) << grid_below(random, (uint64_t)bits) : 0) |
             (is_negative ? UINT64_C(1) << (bits - 1) : 0);
      break;
    default:
      if (bits == 64) memcpy(&word, &number, sizeof word);
      if (bits == 32) {
        const float narrow = (float)number;
        uint32_t half;
        memcpy(&half, &narrow, sizeof half);
        word = half + grid_below(random, 3) - 1;
      }
  }
  return word;
}

static char *make_values(tarn_dtype type, size_t size_bytes, uint64_t *random) {
  const int part_bits = type.code == TARN_CODE_COMPLEX ? type.bits / 2 : type.bits;
  const size_t part_bytes = (size_t)part_bits / 8;
  char *values = malloc(size_bytes);
  for (size_t at = 0; at < size_bytes; at += part_bytes) {
    uint64_t word = interesting(random, part_bits);
    if (part_bytes == 1) word = at; /* all there are, where there is room */
    memcpy(values + at, &word, at + part_bytes <= size_bytes ? part_bytes : size_bytes - at);
  }
  return values;
}

/* --- checking --- */

static void check_pair(tarn_cuda *cuda, tarn_stream *stream, const grid_case *made, tarn_dtype dst,
                       tarn_dtype src, uint64_t *random) {
  tarn__convert convert;
  const bool is_there = tarn__convert_find(dst, src, &convert) == TARN_OK;
  char *values = make_values(src, made->src_extent, random);
  const grid_types types = {element_type(dst), element_type(src)};
  const tarn_status status =
      grid_check(cuda, stream, made, types, values, convert_element, &convert);
  free(values);
  if ((status == TARN_OK) != is_there) {
    print_error("from code %d, %d bits to code %d, %d bits: %s\n", src.code, src.bits, dst.code,
                dst.bits, is_there ? "the CPU converts" : "the CPU does not");
    fail();
  }
}

static grid_case line_of(size_t dst_bytes, size_t src_bytes, int64_t count, size_t offset) {
  grid_case made = {.rank = 1, .shape = {count}, .dst_bytes = dst_bytes, .src_bytes = src_bytes};
  grid_side dst = grid_dense(1, NULL), src = dst;
  dst.offset = offset * dst_bytes;
  src.offset = (offset + 1) * src_bytes;
  grid_lay(&made, &dst, &src);
  return made;
}

static grid_case turned(size_t dst_bytes, size_t src_bytes, int64_t rows, int64_t columns) {
  grid_case made = {
      .rank = 2, .shape = {rows, columns}, .dst_bytes = dst_bytes, .src_bytes = src_bytes};
  static const int32_t order[] = {0, 1};
  const grid_side dst = grid_dense(2, NULL), src = grid_dense(2, order);
  grid_lay(&made, &dst, &src);
  return made;
}

typedef void (*pair_function)(tarn_cuda *cuda, tarn_stream *stream, tarn_dtype dst, tarn_dtype src,
                              uint64_t *random);

static void for_each_pair(void **state, pair_function each) {
  tarn_stream *stream = fixture_stream(*state);
  uint64_t random = 1;
  for (int dst = 0; dst < TYPE_COUNT; dst++) {
    for (int src = 0; src < TYPE_COUNT; src++) {
      if (dst != src) each(*state, stream, all_types[dst], all_types[src], &random);
    }
  }
  tarn_stream_release(stream);
}

static void check_lines(tarn_cuda *cuda, tarn_stream *stream, tarn_dtype dst, tarn_dtype src,
                        uint64_t *random) {
  const grid_case aligned = line_of(tarn_dtype_size_bytes(dst), tarn_dtype_size_bytes(src), 700, 0);
  const grid_case askew = line_of(tarn_dtype_size_bytes(dst), tarn_dtype_size_bytes(src), 77, 3);
  check_pair(cuda, stream, &aligned, dst, src, random);
  check_pair(cuda, stream, &askew, dst, src, random);
}

TEST_WITH(lines_of_every_pair_are_bit_for_bit_the_cpu_s, grid_setup, grid_teardown) {
  for_each_pair(state, check_lines);
}

static void check_layouts(tarn_cuda *cuda, tarn_stream *stream, tarn_dtype dst, tarn_dtype src,
                          uint64_t *random) {
  const size_t dst_bytes = tarn_dtype_size_bytes(dst), src_bytes = tarn_dtype_size_bytes(src);
  grid_case made;
  grid_make_random(&made, random, dst_bytes, src_bytes, /*is_aligned=*/true, 200);
  check_pair(cuda, stream, &made, dst, src, random);
  const grid_case tiles = turned(dst_bytes, src_bytes, 47, 68);
  check_pair(cuda, stream, &tiles, dst, src, random);
}

TEST_WITH(any_layout_of_every_pair_is_bit_for_bit_the_cpu_s, grid_setup, grid_teardown) {
  for_each_pair(state, check_layouts);
}

TEST_WITH(halves_become_floats_and_floats_halves_bit_for_bit, grid_setup, grid_teardown) {
  tarn_stream *stream = fixture_stream(*state);
  tarn__convert convert;
  const tarn_dtype halves[] = {TARN_F16, TARN_BF16};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(tarn__convert_find(TARN_F32, halves[i], &convert), TARN_OK);
    const grid_case made = line_of(4, 2, 65536, 0);
    char *values = calloc(made.src_extent, 1);
    for (uint32_t code = 0; code < 65536; code++) {
      memcpy(values + made.src_offset + 2 * (size_t)code, &code, 2);
    }
    const grid_types types = {element_type(TARN_F32), element_type(halves[i])};
    OK(grid_check(*state, stream, &made, types, values, convert_element, &convert));
    free(values);
    assert_int_equal(tarn__convert_find(halves[i], TARN_F32, &convert), TARN_OK);
    uint64_t random = 3;
    const grid_case back = line_of(2, 4, 8000, 0);
    values = make_values(TARN_F32, back.src_extent, &random);
    /* Around every code of the narrow type, ties among them. */
    for (size_t at = 0; at + 4 <= back.src_extent; at += 8) {
      const uint32_t word =
          (uint32_t)grid_random(&random) &
          (halves[i].code == TARN_CODE_FLOAT ? UINT32_C(0xC7FFF001) : UINT32_C(0xFFFFC001));
      memcpy(values + at, &word, 4);
    }
    const grid_types narrow = {element_type(halves[i]), element_type(TARN_F32)};
    OK(grid_check(*state, stream, &back, narrow, values, convert_element, &convert));
    free(values);
  }
  tarn_stream_release(stream);
}

int main(int argument_count, char **arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  fixture_choose_driver(argument_count > 1 ? arguments[1] : NULL);
  list_types();
  return run_listed_tests(NULL, NULL) != 0;
}
