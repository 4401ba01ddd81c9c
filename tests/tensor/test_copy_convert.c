/* test_copy_convert.c: copies that convert: all strides, streams, sizes, devices and overlaps. */
#include "tests/support/test.h"

#include <stdlib.h>

#include "alloc/tarn_host_stream.h"
#include "tensor/convert.h"
#include "tensor/copy_walk.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_threads.h"
#include "tests/support/manual_stream.h"
#include "tests/tensor/layout_model.h"
#include "tests/tensor/two_places.h"

enum { SMALL_BYTES = 1 << 15, LARGE_BYTES = 24 << 20, PAIR_COUNT = 12 };

static char large_dst[LARGE_BYTES], large_src[LARGE_BYTES], large_expected[LARGE_BYTES];

/* One of each kind of way, in both directions of size. */
static const struct {
  const char *dst, *src;
} pairs[PAIR_COUNT] = {
    {"float16", "float32"},      {"float32", "float16"},    {"float32", "uint8"},
    {"float64", "float32"},      {"int8", "int64"},         {"bool", "float64"},
    {"complex128", "complex64"}, {"complex64", "bfloat16"}, {"int16", "float8_e5m2"},
    {"float8_e4m3fn", "int64"},  {"uint8", "bool"},         {"bfloat16", "float16"},
};

static tarn_dtype dtype_of(const char *name) {
  tarn_dtype dtype;
  assert_ok(tarn_dtype_parse(name, &dtype));
  return dtype;
}

static tarn_tensor wrap(void *bytes, size_t size_bytes, tarn_dtype dtype, tarn_layout layout) {
  tarn_blob blob = {.struct_size = sizeof blob, .address = bytes, .size_bytes = size_bytes};
  tarn_tensor tensor = {.dtype = dtype, .layout = layout};
  assert_ok(tarn_storage_wrap(&blob, &tensor.storage));
  return tensor;
}

/* Element by element at equal indices. */
static void model_conversion(tarn_dtype to, const tarn_layout *dst, char *dst_base, tarn_dtype from,
                             const tarn_layout *src, const char *src_base) {
  tarn__convert convert;
  tarn_layout broad = *src;
  assert_ok(tarn__convert_find(to, from, &convert));
  assert_ok(tarn_layout_expand(&broad, dst->rank, dst->shape));
  int64_t index[TARN_RANK_MAX], count = model_count(dst->rank, dst->shape);
  for (int64_t i = 0; i < count; i++) {
    model_unravel(dst->rank, dst->shape, i, index);
    tarn__convert_row(&convert, dst_base + layout_element(dst, index) * (int64_t)convert.dst_bytes,
                      src_base + layout_element(&broad, index) * (int64_t)convert.src_bytes, 1,
                      /*is_streaming=*/false);
  }
}

/* --- any strides --- */

static void random_conversions(tarn_stream *stream, uint64_t seed, int rounds) {
  static char dst[SMALL_BYTES], expected[SMALL_BYTES], src[SMALL_BYTES];
  uint64_t random = seed;
  random_fill(&random, src, sizeof src);
  for (int round = 0; round < rounds; round++) {
    const int64_t pair = random_in(&random, 0, PAIR_COUNT - 1);
    const tarn_dtype to = dtype_of(pairs[pair].dst), from = dtype_of(pairs[pair].src);
    int64_t shape[TARN_RANK_MAX];
    int32_t rank = random_shape(&random, round % 2 ? 7 : 100, round % 2 ? 200 : 400, shape);
    tarn_layout dst_layout = random_layout_of(&random, rank, shape, /*may_overlap=*/false);
    if (round % 3 == 0 && rank > 0) shape[random_in(&random, 0, rank - 1)] = 1;
    bool fits = true;
    for (int32_t d = 0; d < rank; d++) fits = fits && (shape[d] > 0 || dst_layout.shape[d] == 0);
    for (int32_t d = 0; d < rank; d++) fits = fits && (dst_layout.shape[d] > 0 || shape[d] == 0);
    if (!fits) continue;
    tarn_layout src_layout = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    memset(dst, 0, sizeof dst);
    memset(expected, 0, sizeof expected);
    model_conversion(to, &dst_layout, expected, from, &src_layout, src);
    tarn_tensor dst_tensor = wrap(dst, sizeof dst, to, dst_layout);
    tarn_tensor src_tensor = wrap(src, sizeof src, from, src_layout);
    tarn_copy_report report = {.struct_size = sizeof report};
    assert_ok(tarn_tensor_copy(&dst_tensor, &src_tensor, stream, &report));
    assert_int_equal(report.moved_bytes, tarn_tensor_size_bytes(&dst_tensor));
    if (report.moved_bytes > 0) {
      assert_string_equal(report.executor, "convert");
      assert_int_equal(report.was_synchronous, tarn_stream_is_synchronous(stream));
    }
    tarn_tensor_release(&src_tensor);
    tarn_tensor_release(&dst_tensor); /* a blob's last release waits */
    if (memcmp(dst, expected, sizeof dst) != 0) {
      fail_msg("round %d: %s of %s", round, pairs[pair].dst, pairs[pair].src);
    }
  }
}

TEST(conversions_without_a_stream_equal_the_model) {
  random_conversions(NULL, 29, 4000);
}

TEST(conversions_on_a_worker_stream_equal_the_model) {
  tarn_stream *stream;
  assert_ok(tarn_worker_stream_create(&stream));
  random_conversions(stream, 37, 500);
  tarn_stream_release(stream);
}

TEST(conversions_on_a_late_stream_equal_the_model) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  random_conversions(stream, 41, 500);
  tarn_stream_release(stream);
}

/* --- large ones: more than a box, a piece, a strand, a thread --- */

static void check_large(const char *to_name, tarn_layout dst, const char *from_name,
                        tarn_layout src) {
  const tarn_dtype to = dtype_of(to_name), from = dtype_of(from_name);
  tarn_tensor dst_tensor = wrap(large_dst, LARGE_BYTES, to, dst);
  tarn_tensor src_tensor = wrap(large_src, LARGE_BYTES, from, src);
  memset(large_dst, 0, LARGE_BYTES);
  memset(large_expected, 0, LARGE_BYTES);
  model_conversion(to, &dst, large_expected, from, &src, large_src);
  assert_ok(tarn_tensor_copy(&dst_tensor, &src_tensor, NULL, NULL));
  assert_memory_equal(large_dst, large_expected, LARGE_BYTES);
  tarn_tensor_release(&dst_tensor);
  tarn_tensor_release(&src_tensor);
}

static tarn_layout turned(tarn_layout layout) {
  assert_ok(tarn_layout_transpose(&layout, 0, layout.rank - 1));
  return layout;
}

static void fill_large_source(void) {
  uint64_t random = 5;
  for (size_t i = 0; i < LARGE_BYTES; i += 8) {
    const uint64_t word = random_next(&random);
    memcpy(large_src + i, &word, 8);
  }
}

static void check_large_shapes(void) {
  fill_large_source();
  check_large("float16", ROW_MAJOR(700001), "float32", ROW_MAJOR(700001));
  check_large("float64", ROW_MAJOR(3, 333), "float32", ROW_MAJOR(3, 333));
  check_large("float32", ROW_MAJOR(301, 211), "float16", turned(ROW_MAJOR(211, 301)));
  check_large("uint8", ROW_MAJOR(301, 211), "float32", turned(ROW_MAJOR(211, 301)));
  check_large("float32", turned(ROW_MAJOR(130, 1000)), "float64", ROW_MAJOR(1000, 130));
  check_large("bfloat16", ROW_MAJOR(5, 70, 3, 90), "float32", turned(ROW_MAJOR(90, 70, 3, 5)));
  check_large("complex64", ROW_MAJOR(400, 333), "int64", ROW_MAJOR(1, 333));
  check_large("int32", ROW_MAJOR(400, 333), "float32", ROW_MAJOR(400, 1));
  tarn_layout columns = ROW_MAJOR(500, 600), flipped = ROW_MAJOR(500, 300);
  assert_ok(tarn_layout_slice(&columns, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, 2));
  assert_ok(tarn_layout_slice(&flipped, 1, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1));
  check_large("float16", flipped, "int8", columns);
  tarn_layout odd = ROW_MAJOR(200000);
  odd.offset = 3;
  check_large("float32", odd, "uint8", odd);
}

TEST(large_conversions_equal_the_model) {
  check_large_shapes();
}

TEST(large_conversions_past_the_caches_equal_the_model) {
  tarn__copy_walk_limits(1, 0);
  check_large_shapes();
  tarn__copy_walk_limits(0, 0);
}

TEST(large_conversions_by_many_threads_equal_the_model) {
  fill_large_source();
  assert_ok(tarn_copy_set_thread_count(5));
  check_large("float16", ROW_MAJOR(2000001), "float32", ROW_MAJOR(2000001));
  check_large("float32", ROW_MAJOR(1001, 1003), "float16", turned(ROW_MAJOR(1003, 1001)));
  check_large("uint8", ROW_MAJOR(50000, 40), "float64", ROW_MAJOR(50000, 40));
  assert_ok(tarn_copy_set_thread_count(0));
}

/* --- what overlaps --- */

TEST(a_conversion_onto_itself_is_refused) {
  static float numbers[64];
  tarn_tensor src = wrap(numbers, sizeof numbers, TARN_F32, ROW_MAJOR(8));
  tarn_tensor dst = wrap(numbers, sizeof numbers, TARN_F16, ROW_MAJOR(8));
  numbers[0] = 1;
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_OVERLAP);
  assert_true(numbers[0] == 1);
  dst.layout.offset = 15; /* the last half of the source's last element */
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_OVERLAP);
  dst.layout.offset = 16;
  assert_ok(tarn_tensor_copy(&dst, &src, NULL, NULL));
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

TEST(a_conversion_into_the_gaps_of_its_source_is_exact) {
  float numbers[16] = {1, 0, 2, 0, 3, 0, 4, 0};
  tarn_layout every_other = ROW_MAJOR(4), gaps = ROW_MAJOR(4);
  every_other.strides[0] = 2;
  gaps.strides[0] = 8; /* in elements of a byte */
  gaps.offset = 4;
  tarn_tensor src = wrap(numbers, sizeof numbers, TARN_F32, every_other);
  tarn_tensor dst = wrap(numbers, sizeof numbers, TARN_I8, gaps);
  assert_ok(tarn_tensor_copy(&dst, &src, NULL, NULL));
  for (int i = 0; i < 4; i++) {
    assert_true(numbers[2 * (size_t)i] == (float)(i + 1));
    assert_int_equal(((const int8_t *)numbers)[4 + 8 * i], i + 1);
  }
  for (int64_t byte = 0; byte < 4; byte++) { /* any one of an element's */
    dst.layout.offset = byte;
    assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_OVERLAP);
  }
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

TEST(integers_of_one_width_are_copied_as_bytes) {
  int32_t numbers[8] = {-1, 2, -3};
  uint32_t other[8];
  tarn_copy_report report = {.struct_size = sizeof report};
  tarn_tensor src = wrap(numbers, sizeof numbers, TARN_I32, ROW_MAJOR(8));
  tarn_tensor dst = wrap(other, sizeof other, TARN_U32, ROW_MAJOR(8));
  tarn_tensor same = wrap(numbers, sizeof numbers, TARN_U32, ROW_MAJOR(8));
  assert_ok(tarn_tensor_copy(&dst, &src, NULL, &report));
  assert_string_equal(report.executor, "memcpy");
  assert_memory_equal(other, numbers, sizeof other);
  assert_ok(tarn_tensor_copy(&same, &src, NULL, &report));
  assert_int_equal(report.moved_bytes, 0);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
  tarn_tensor_release(&same);
}

TEST(a_conversion_is_explained) {
  char text[TARN_COPY_TEXT_BYTES];
  tarn_tensor dst = {.dtype = TARN_F16, .layout = ROW_MAJOR(4096, 4096)};
  tarn_tensor src = {.dtype = TARN_F32, .layout = ROW_MAJOR(4096, 4096)};
  assert_ok(tarn_copy_explain(&dst, &src, 1, text));
  assert_non_null(strstr(text, "64 rows of at most 262144 elements, streamed"));
  src.layout = turned(src.layout);
  assert_ok(tarn_copy_explain(&dst, &src, 2, text));
  assert_non_null(strstr(text, "4096 boxes of at most 4096 elements"));
  assert_non_null(strstr(text, "by 2 threads"));
  src.dtype = TARN_C64;
  assert_status(tarn_copy_explain(&dst, &src, 2, text), TARN_NOT_SUPPORTED);
}

/* --- what is refused --- */

TEST(complex_to_real_is_refused) {
  float numbers[8] = {1, 2, 3}, other[4] = {7};
  tarn_tensor src = wrap(numbers, sizeof numbers, TARN_C64, ROW_MAJOR(4));
  tarn_tensor dst = wrap(other, sizeof other, TARN_F32, ROW_MAJOR(4));
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_NOT_SUPPORTED);
  assert_true(other[0] == 7);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

TEST(both_sides_are_checked_with_their_own_element_size) {
  char bytes[32] = {0}, other[32];
  tarn_tensor wide = wrap(bytes, 31, TARN_F64, ROW_MAJOR(4));
  tarn_tensor narrow = wrap(other, sizeof other, TARN_U8, ROW_MAJOR(4));
  assert_status(tarn_tensor_copy(&narrow, &wide, NULL, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_tensor_copy(&wide, &narrow, NULL, NULL), TARN_INVALID_ARGUMENT);
  tarn_tensor_release(&wide);
  tarn_tensor_release(&narrow);
}

/* --- devices --- */

static tarn_tensor place(bool on_device, void *bytes, tarn_dtype dtype, tarn_layout layout) {
  tarn_tensor tensor = {.dtype = dtype, .layout = layout};
  if (!on_device) return wrap(bytes, SMALL_BYTES, dtype, layout);
  assert_ok(tarn_storage_create(device_pool, SMALL_BYTES, device_stream, &tensor.storage));
  return tensor;
}

static void conversions_between(bool to_device, bool from_device, uint64_t seed) {
  static char dst_bytes[SMALL_BYTES], src_bytes[SMALL_BYTES], expected[SMALL_BYTES];
  uint64_t random = seed;
  for (int round = 0; round < 300; round++) {
    const int64_t pair = random_in(&random, 0, PAIR_COUNT - 1);
    const tarn_dtype to = dtype_of(pairs[pair].dst), from = dtype_of(pairs[pair].src);
    int64_t shape[TARN_RANK_MAX];
    int32_t rank = random_shape(&random, 20, 400, shape);
    tarn_layout dst_layout = random_layout_of(&random, rank, shape, /*may_overlap=*/false);
    tarn_layout src_layout = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    tarn_tensor dst = place(to_device, dst_bytes, to, dst_layout);
    tarn_tensor src = place(from_device, src_bytes, from, src_layout);
    random_fill(&random, bytes_of(&src), 8192);
    memset(bytes_of(&dst), 0, SMALL_BYTES);
    memset(expected, 0, sizeof expected);
    model_conversion(to, &dst_layout, expected, from, &src_layout, bytes_of(&src));
    tarn_copy_report report = {.struct_size = sizeof report};
    assert_ok(tarn_tensor_copy(&dst, &src, device_stream, &report));
    if (report.moved_bytes > 0) assert_string_equal(report.executor, "staged");
    assert_true(report.was_synchronous);
    assert_int_equal(report.moved_bytes, tarn_tensor_size_bytes(&dst));
    assert_memory_equal(bytes_of(&dst), expected, SMALL_BYTES);
    tarn_tensor_release(&dst);
    tarn_tensor_release(&src);
  }
}

TEST(conversions_to_a_device_equal_the_model) {
  conversions_between(true, false, 51);
}

TEST(conversions_from_a_device_equal_the_model) {
  conversions_between(false, true, 53);
}

TEST(conversions_on_a_device_equal_the_model) {
  conversions_between(true, true, 55);
}

/* The device's stream works late, so that a copy that is still waiting has to come first. */
TEST(a_conversion_comes_after_what_was_enqueued) {
  static char pageable[SMALL_BYTES];
  int32_t numbers[4] = {1, 2, 3, 4};
  tarn_tensor first = place(true, NULL, TARN_I32, ROW_MAJOR(4));
  tarn_tensor second = place(true, NULL, TARN_I32, ROW_MAJOR(4));
  tarn_tensor dst = place(false, pageable, TARN_F64, ROW_MAJOR(4));
  memcpy(bytes_of(&first), numbers, sizeof numbers);
  memset(bytes_of(&second), 0, sizeof numbers);
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(&second, &first, device_stream, &report));
  assert_false(report.was_synchronous);
  assert_ok(tarn_tensor_copy(&dst, &second, device_stream, &report));
  assert_true(report.was_synchronous);
  double got[4];
  memcpy(got, pageable, sizeof got);
  for (int i = 0; i < 4; i++) assert_true(got[i] == numbers[i]);
  tarn_tensor_release(&first);
  tarn_tensor_release(&second);
  tarn_tensor_release(&dst);
}

TEST(a_failing_call_of_a_conversion_is_reported) {
  static char pageable[SMALL_BYTES];
  tarn_tensor device = place(true, NULL, TARN_I32, ROW_MAJOR(64));
  tarn_tensor host = place(false, pageable, TARN_F64, ROW_MAJOR(64));
  fake_copies_to_fail = 0;
  assert_true(tarn_tensor_copy(&host, &device, device_stream, NULL) != TARN_OK);
  fake_copies_to_fail = 0;
  assert_true(tarn_tensor_copy(&device, &host, device_stream, NULL) != TARN_OK);
  fake_copies_to_fail = -1;
  tarn_tensor_release(&device);
  tarn_tensor_release(&host);
}

int main(void) {
  return run_listed_tests(start, stop);
}
