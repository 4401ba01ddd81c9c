/* test_copy.c: tests of tensor/copy.c on the host: every stream, every stride, every overlap. */
#include "tests/support/pools.h"

#include <pthread.h>
#include <stdlib.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "tensor/copy_walk.h"
#include "tensor/tarn_copy.h"
#include "tensor/tarn_copy_threads.h"
#include "tests/support/manual_stream.h"
#include "tests/tensor/layout_model.h"

enum { BUFFER_BYTES = 1 << 15 };

static tarn_pool *pool;

static int make_pool(void **state) {
  (void)state;
  pool = pages_pool(NULL);
  return 0;
}

static int drop_pool(void **state) {
  (void)state;
  tarn_pool_stats stats = stats_of(pool);
  assert_int_equal(stats.alloc_count, stats.free_count);
  tarn_pool_release(pool);
  return 0;
}

/* A tensor of any layout on memory of the test's. */
static tarn_tensor wrap(void *bytes, size_t size_bytes, tarn_dtype dtype, tarn_layout layout) {
  tarn_blob blob = {.struct_size = sizeof blob, .address = bytes, .size_bytes = size_bytes};
  tarn_tensor tensor = {.dtype = dtype, .layout = layout};
  assert_ok(tarn_storage_wrap(&blob, &tensor.storage));
  return tensor;
}

static tarn_tensor wrap_i32(int32_t *numbers, int64_t count) {
  tarn_layout layout;
  assert_ok(tarn_layout_init(&layout, 1, &count));
  return wrap(numbers, (size_t)count * sizeof *numbers, TARN_I32, layout);
}

static tarn_tensor filled(int64_t count, int32_t first) {
  tarn_tensor tensor;
  assert_ok(tarn_tensor_create(pool, TARN_I32, 1, &count, NULL, &tensor));
  int32_t *numbers = tarn_tensor_data_mutable(&tensor);
  for (int64_t i = 0; i < count; i++) numbers[i] = first + (int32_t)i;
  return tensor;
}

/* --- any shape, any strides, any stream --- */

static const tarn_dtype dtypes[] = {
    {TARN_CODE_BOOL, 8, 1},   {TARN_CODE_BFLOAT, 16, 1},   {TARN_CODE_FLOAT, 32, 1},
    {TARN_CODE_INT, 64, 1},   {TARN_CODE_COMPLEX, 128, 1}, {TARN_CODE_UINT, 8, 3},
    {TARN_CODE_FLOAT, 32, 3},
};

/* Drops leading dimensions and makes others 1: what broadcasting has to bring back. */
static void shrink_shape(uint64_t *random, int32_t *rank, int64_t *shape) {
  int32_t dropped = *rank > 0 ? (int32_t)random_in(random, 0, *rank) : 0;
  for (int32_t d = dropped; d < *rank; d++) {
    shape[d - dropped] = random_in(random, 0, 1) ? 1 : shape[d];
  }
  *rank -= dropped;
}

static tarn_layout broadcast(tarn_layout layout, const tarn_layout *to) {
  assert_ok(tarn_layout_expand(&layout, to->rank, to->shape));
  return layout;
}

static void copies_of_random_tensors(tarn_stream *stream, uint64_t seed, int rounds) {
  static char dst[BUFFER_BYTES], expected[BUFFER_BYTES], src[BUFFER_BYTES];
  uint64_t random = seed;
  random_fill(&random, src, sizeof src);
  for (int round = 0; round < rounds; round++) {
    int64_t shape[TARN_RANK_MAX];
    tarn_dtype dtype = dtypes[random_in(&random, 0, COUNT_OF(dtypes) - 1)];
    size_t element_bytes = tarn_dtype_size_bytes(dtype);
    int32_t rank = random_shape(&random, 6, 200, shape);
    tarn_layout to = random_layout_of(&random, rank, shape, /*may_overlap=*/false);
    if (round % 3 == 0) shrink_shape(&random, &rank, shape);
    tarn_layout from = random_layout_of(&random, rank, shape, /*may_overlap=*/true);
    memset(dst, 0, sizeof dst);
    memset(expected, 0, sizeof expected);
    tarn_layout broad = broadcast(from, &to);
    model_copy(&to, expected, &broad, src, element_bytes);
    tarn_tensor dst_tensor = wrap(dst, sizeof dst, dtype, to);
    tarn_tensor src_tensor = wrap(src, sizeof src, dtype, from);
    tarn_copy_report report = {.struct_size = sizeof report};
    assert_ok(tarn_tensor_copy(&dst_tensor, &src_tensor, stream, &report));
    assert_int_equal(report.moved_bytes, tarn_tensor_size_bytes(&dst_tensor));
    if (report.moved_bytes > 0) {
      assert_int_equal(report.was_synchronous, tarn_stream_is_synchronous(stream));
    }
    tarn_tensor_release(&src_tensor);
    tarn_tensor_release(&dst_tensor); /* a blob's last release waits */
    if (memcmp(dst, expected, sizeof dst) != 0) fail_msg("round %d", round);
  }
}

TEST(copies_without_a_stream_equal_the_model) {
  copies_of_random_tensors(NULL, 29, 6000);
}

TEST(copies_on_a_host_stream_equal_the_model) {
  tarn_stream *stream;
  assert_ok(tarn_host_stream_create(&stream));
  copies_of_random_tensors(stream, 31, 1000);
  tarn_stream_release(stream);
}

TEST(copies_on_a_worker_stream_equal_the_model) {
  tarn_stream *stream;
  assert_ok(tarn_worker_stream_create(&stream));
  copies_of_random_tensors(stream, 37, 1000);
  tarn_stream_release(stream);
}

TEST(copies_on_a_late_stream_equal_the_model) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  copies_of_random_tensors(stream, 41, 1000);
  tarn_stream_release(stream);
}

/* --- what the report says --- */

static tarn_copy_report copied(const tarn_tensor *dst, const tarn_tensor *src) {
  tarn_copy_report report = {.struct_size = sizeof report, .run_count = 99};
  assert_ok(tarn_tensor_copy(dst, src, NULL, &report));
  return report;
}

TEST(the_report_names_the_executor) {
  int32_t from[24] = {0}, to[24];
  tarn_tensor src = wrap_i32(from, 24), dst = wrap_i32(to, 24);
  tarn_copy_report report = copied(&dst, &src);
  assert_string_equal(report.executor, "memcpy");
  assert_int_equal(report.run_count, 1);
  assert_int_equal(report.moved_bytes, 96);
  assert_true(report.was_synchronous);
  assert_ok(tarn_tensor_view(&src, 2, (int64_t[]){4, 6}));
  assert_ok(tarn_tensor_view(&dst, 2, (int64_t[]){4, 6}));
  assert_ok(tarn_tensor_narrow(&src, 1, 1, 3));
  assert_ok(tarn_tensor_narrow(&dst, 1, 0, 3));
  report = copied(&dst, &src);
  assert_string_equal(report.executor, "rows");
  assert_int_equal(report.run_count, 4);
  assert_ok(tarn_tensor_view(&src, 2, (int64_t[]){4, 3}));
  assert_ok(tarn_tensor_narrow(&src, 0, 0, 3));
  assert_ok(tarn_tensor_narrow(&dst, 0, 0, 3));
  assert_ok(tarn_tensor_transpose(&dst, 0, 1));
  report = copied(&dst, &src);
  assert_string_equal(report.executor, "transpose");
  assert_int_equal(report.run_count, 9);
  assert_ok(tarn_tensor_narrow(&src, 0, 0, 0));
  assert_ok(tarn_tensor_narrow(&dst, 0, 0, 0));
  report = copied(&dst, &src);
  assert_string_equal(report.executor, "none");
  assert_int_equal(report.moved_bytes, 0);
  assert_int_equal(report.run_count, 0);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

TEST(a_plan_is_explained_without_memory) {
  char text[TARN_COPY_TEXT_BYTES];
  tarn_tensor dst = {.dtype = TARN_F32}, src = {.dtype = TARN_F32};
  assert_ok(tarn_layout_init(&dst.layout, 2, (int64_t[]){8192, 1024}));
  assert_ok(tarn_layout_init(&src.layout, 2, (int64_t[]){1024, 8192}));
  assert_ok(tarn_tensor_transpose(&src, 0, 1));
  assert_ok(tarn_copy_explain(&dst, &src, 2, text));
  assert_non_null(strstr(text, "transpose, 33554432 bytes in runs of 4, streamed"));
  assert_non_null(strstr(text, "in 8 parts by 2 threads"));
  assert_non_null(strstr(text, "outer          8192           4096              4\n"));
  assert_non_null(strstr(text, "inner          1024              4          32768"));
  assert_ok(tarn_copy_explain(&dst, &src, 1, text));
  assert_non_null(strstr(text, "by one thread"));
  assert_ok(tarn_tensor_narrow(&dst, 0, 0, 0));
  assert_ok(tarn_tensor_narrow(&src, 0, 0, 0));
  assert_ok(tarn_copy_explain(&dst, &src, 0, text));
  assert_non_null(strstr(text, "none, 0 bytes"));
}

TEST(what_cannot_be_explained_is_refused) {
  char text[TARN_COPY_TEXT_BYTES];
  tarn_tensor a = {.dtype = TARN_F32, .layout = {.rank = 1, .shape = {3}, .strides = {1}}};
  tarn_tensor b = {.dtype = TARN_F32, .layout = {.rank = 1, .shape = {4}, .strides = {1}}};
  assert_status(tarn_copy_explain(&a, &b, 1, text), TARN_INVALID_ARGUMENT);
  assert_string_equal(text, "");
  assert_status(tarn_copy_explain(NULL, &b, 1, text), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_explain(&a, NULL, 1, text), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_explain(&a, &a, 1, NULL), TARN_INVALID_ARGUMENT);
  assert_status(tarn_copy_explain(&a, &a, -1, text), TARN_INVALID_ARGUMENT);
  b.layout = (tarn_layout){.rank = 1, .shape = {3}, .strides = {INT64_MAX / 4}};
  assert_status(tarn_copy_explain(&a, &b, 1, text), TARN_TOO_LARGE);
  assert_status(tarn_copy_explain(&b, &a, 1, text), TARN_TOO_LARGE);
  b.layout.rank = TARN_RANK_MAX + 1;
  assert_status(tarn_copy_explain(&b, &b, 1, text), TARN_INVALID_ARGUMENT);
  a.dtype.bits = 5;
  assert_status(tarn_copy_explain(&a, &a, 1, text), TARN_NOT_SUPPORTED);
}

/* --- threads --- */

enum { CALLERS = 4, SIDE = 300 };

/* Turns a matrix of its own over and over, in parts that its helpers take. */
static void *turn_matrices(void *argument) {
  static const int64_t shape[2] = {SIDE, SIDE};
  const int32_t first = *(const int32_t *)argument;
  int32_t *failures = argument;
  tarn_tensor src, dst;
  if (tarn_tensor_create(pool, TARN_I32, 2, shape, NULL, &src) != TARN_OK ||
      tarn_tensor_create(pool, TARN_I32, 2, shape, NULL, &dst) != TARN_OK ||
      tarn_tensor_transpose(&src, 0, 1) != TARN_OK) {
    return NULL;
  }
  *failures = 0;
  int32_t *from = tarn_storage_data_mutable(src.storage);
  const int32_t *to = tarn_tensor_data(&dst);
  for (int32_t round = 0; round < 10; round++) {
    for (int32_t i = 0; i < SIDE * SIDE; i++) from[i] = first + round + i;
    if (tarn_tensor_copy(&dst, &src, NULL, NULL) != TARN_OK) (*failures)++;
    for (int32_t i = 0; i < SIDE * SIDE; i++) {
      if (to[i] != first + round + i % SIDE * SIDE + i / SIDE) (*failures)++;
    }
  }
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
  return NULL;
}

TEST(several_callers_copy_in_parts_at_once) {
  pthread_t callers[CALLERS];
  int32_t numbers[CALLERS];
  assert_ok(tarn_copy_set_thread_count(3));
  tarn__copy_walk_limits(/*stream_bytes=*/1, /*part_bytes=*/4096);
  for (int i = 0; i < CALLERS; i++) {
    numbers[i] = 1000000 * (i + 1);
    assert_int_equal(pthread_create(&callers[i], NULL, turn_matrices, &numbers[i]), 0);
  }
  for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
  tarn__copy_walk_limits(0, 0);
  assert_ok(tarn_copy_set_thread_count(0));
  for (int i = 0; i < CALLERS; i++) assert_int_equal(numbers[i], 0);
}

TEST(copies_in_parts_equal_the_model) {
  assert_ok(tarn_copy_set_thread_count(3));
  tarn__copy_walk_limits(/*stream_bytes=*/64, /*part_bytes=*/64);
  copies_of_random_tensors(NULL, 47, 1500);
  tarn__copy_walk_limits(0, 0);
  assert_ok(tarn_copy_set_thread_count(0));
}

/* --- who keeps the memory --- */

/* Frees `src` behind the copy's back and writes over whatever the pool lends out then. */
TEST(a_pool_does_not_lend_out_the_source_before_the_copy_ran) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  tarn_tensor src = filled(1000, 7), dst = filled(1000, 0);
  assert_ok(tarn_tensor_copy(&dst, &src, stream, NULL));
  assert_int_equal(manual_stream_pending(stream), 1);
  tarn_tensor_release(&src);
  tarn_tensor other = filled(1000, 900000);
  assert_int_equal(manual_stream_pending(stream), 1);
  assert_ok(tarn_stream_synchronize(stream));
  const int32_t *numbers = tarn_tensor_data(&dst);
  for (int32_t i = 0; i < 1000; i++) assert_int_equal(numbers[i], 7 + i);
  tarn_tensor_release(&other);
  tarn_tensor_release(&dst);
  tarn_stream_release(stream);
}

TEST(a_pool_does_not_lend_out_the_destination_before_the_copy_ran) {
  tarn_stream *stream;
  assert_ok(manual_stream_create(&stream));
  tarn_tensor src = filled(1000, 7), dst = filled(1000, 0);
  assert_ok(tarn_tensor_transpose(&src, 0, 0));
  assert_ok(tarn_tensor_slice(&src, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1));
  assert_ok(tarn_tensor_copy(&dst, &src, stream, NULL));
  tarn_tensor_release(&dst);
  tarn_tensor other = filled(1000, 500);
  assert_ok(tarn_stream_synchronize(stream)); /* the late copy must not hit `other` */
  const int32_t *numbers = tarn_tensor_data(&other);
  for (int32_t i = 0; i < 1000; i++) assert_int_equal(numbers[i], 500 + i);
  tarn_tensor_release(&other);
  tarn_tensor_release(&src);
  tarn_stream_release(stream);
}

typedef struct poisoned {
  int32_t numbers[256];
  int calls;
} poisoned;

static void poison(void *context) {
  poisoned *self = context;
  memset(self->numbers, 0xee, sizeof self->numbers);
  self->calls++;
}

TEST(a_deleter_waits_for_the_copy) {
  static poisoned guest;
  tarn_stream *stream;
  tarn_tensor src, dst = filled(256, 0);
  assert_ok(tarn_worker_stream_create(&stream));
  for (int round = 1; round <= 20; round++) {
    for (int32_t i = 0; i < 256; i++) guest.numbers[i] = round * i;
    tarn_blob blob = {.struct_size = sizeof blob,
                      .address = guest.numbers,
                      .size_bytes = sizeof guest.numbers,
                      .deleter = poison,
                      .context = &guest};
    assert_ok(tarn_tensor_wrap(&blob, TARN_I32, 1, (int64_t[]){256}, NULL, 0, &src));
    assert_ok(tarn_tensor_copy(&dst, &src, stream, NULL));
    tarn_tensor_release(&src);
    assert_int_equal(guest.calls, round);
    const int32_t *numbers = tarn_tensor_data(&dst);
    for (int32_t i = 0; i < 256; i++) assert_int_equal(numbers[i], round * i);
  }
  tarn_tensor_release(&dst);
  tarn_stream_release(stream);
}

/* --- overlap --- */

static void expect_overlap(const tarn_tensor *dst, const tarn_tensor *src) {
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_int_equal(tarn_tensor_copy(dst, src, NULL, &report), TARN_OVERLAP);
  assert_int_equal(report.moved_bytes, 0);
}

TEST(a_copy_onto_itself_moves_nothing) {
  int32_t numbers[12] = {0};
  tarn_tensor tensor = wrap_i32(numbers, 12), same = wrap_i32(numbers, 12);
  assert_ok(tarn_tensor_view(&tensor, 2, (int64_t[]){3, 4}));
  assert_ok(tarn_tensor_transpose(&tensor, 0, 1));
  tarn_copy_report report = copied(&tensor, &tensor);
  assert_string_equal(report.executor, "none");
  assert_int_equal(report.moved_bytes, 0);
  assert_ok(tarn_tensor_view(&same, 2, (int64_t[]){3, 4})); /* another storage, the same bytes */
  assert_ok(tarn_tensor_transpose(&same, 0, 1));
  assert_string_equal(copied(&tensor, &same).executor, "none");
  tarn_tensor_release(&tensor);
  tarn_tensor_release(&same);
}

TEST(overlapping_runs_move_as_memmove_does) {
  for (int64_t shift = 1; shift < 6; shift++) {
    for (int direction = 0; direction < 2; direction++) {
      int32_t numbers[16], expected[16];
      for (int32_t i = 0; i < 16; i++) numbers[i] = expected[i] = i;
      tarn_tensor low = wrap_i32(numbers, 16), high = low;
      assert_ok(tarn_tensor_narrow(&low, 0, 0, 16 - shift));
      assert_ok(tarn_tensor_narrow(&high, 0, shift, 16 - shift));
      size_t size_bytes = (size_t)(16 - shift) * 4;
      memmove(direction ? expected : expected + shift, direction ? expected + shift : expected,
              size_bytes);
      tarn_copy_report report = direction ? copied(&low, &high) : copied(&high, &low);
      assert_string_equal(report.executor, "memcpy");
      assert_memory_equal(numbers, expected, sizeof numbers);
      tarn_tensor_release(&low);
    }
  }
}

TEST(interleaved_tensors_do_not_overlap) {
  int32_t numbers[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  tarn_tensor even = wrap_i32(numbers, 12), odd = even;
  assert_ok(tarn_tensor_slice(&even, 0, 0, 12, 2));
  assert_ok(tarn_tensor_slice(&odd, 0, 1, 12, 2));
  assert_ok(tarn_tensor_copy(&odd, &even, NULL, NULL));
  assert_memory_equal(numbers, ((int32_t[]){0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10}), sizeof numbers);
  tarn_tensor_release(&even);
}

TEST(tangled_tensors_are_refused) {
  int32_t numbers[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, before[12];
  memcpy(before, numbers, sizeof before);
  tarn_tensor square = wrap_i32(numbers, 9), turned = square, flat = wrap_i32(numbers, 12);
  assert_ok(tarn_tensor_view(&square, 2, (int64_t[]){3, 3}));
  turned = square;
  assert_ok(tarn_tensor_transpose(&turned, 0, 1));
  expect_overlap(&turned, &square);
  tarn_tensor backwards = flat;
  assert_ok(tarn_tensor_slice(&backwards, 0, TARN_SLICE_OPEN, TARN_SLICE_OPEN, -1));
  expect_overlap(&flat, &backwards);
  tarn_tensor expanded = flat;
  assert_ok(tarn_tensor_narrow(&expanded, 0, 0, 1));
  assert_ok(tarn_tensor_expand(&expanded, 1, (int64_t[]){5}));
  tarn_tensor five = flat;
  assert_ok(tarn_tensor_narrow(&five, 0, 5, 5));
  expect_overlap(&expanded, &five); /* the destination overlaps itself */
  assert_memory_equal(numbers, before, sizeof before);
  tarn_tensor_release(&square);
  tarn_tensor_release(&flat);
}

/* On one buffer, any two layouts: either refused because they share an element, or exact. */
TEST(a_copy_within_a_buffer_is_exact_or_refused) {
  static char bytes[BUFFER_BYTES], before[BUFFER_BYTES], expected[BUFFER_BYTES];
  static uint8_t marks[BUFFER_BYTES];
  uint64_t random = 43;
  size_t refused = 0, done = 0;
  for (int round = 0; round < 8000; round++) {
    int64_t shape[TARN_RANK_MAX];
    int32_t rank = random_shape(&random, 4, 60, shape);
    tarn_layout to = random_layout_of(&random, rank, shape, false);
    tarn_layout from = random_layout_of(&random, rank, shape, true);
    from.offset += random_in(&random, 0, 60);
    random_fill(&random, bytes, 1024);
    memcpy(before, bytes, sizeof before);
    memcpy(expected, bytes, sizeof expected);
    model_copy(&to, expected, &from, before, 2);
    memset(marks, 0, sizeof marks);
    bool shares = false;
    static model all;
    model_of(&from, &all);
    for (int64_t i = 0; i < all.count; i++) marks[all.elements[i]] = 1;
    model_of(&to, &all);
    for (int64_t i = 0; i < all.count; i++) shares |= marks[all.elements[i]] != 0;
    tarn_tensor dst = wrap(bytes, sizeof bytes, TARN_F16, to);
    tarn_tensor src = wrap(bytes, sizeof bytes, TARN_F16, from);
    tarn_status status = tarn_tensor_copy(&dst, &src, NULL, NULL);
    if (status == TARN_OVERLAP) {
      assert_true(shares);
      assert_memory_equal(bytes, before, sizeof before);
    } else {
      assert_ok(status);
      if (memcmp(bytes, expected, sizeof expected) != 0) fail_msg("round %d", round);
    }
    refused += status != TARN_OK;
    done += status == TARN_OK;
    tarn_tensor_release(&dst);
    tarn_tensor_release(&src);
  }
  assert_true(refused > 1000 && done > 1000);
}

/* --- failures --- */

static void expect_failure(tarn_status expected, const tarn_tensor *dst, const tarn_tensor *src) {
  tarn_copy_report report = {.struct_size = sizeof report, .moved_bytes = 99};
  assert_int_equal(tarn_tensor_copy(dst, src, NULL, &report), expected);
  assert_int_equal(report.moved_bytes, 0);
  assert_string_equal(report.executor, "none");
}

TEST(what_cannot_be_copied_is_refused) {
  int32_t numbers[6] = {1, 2, 3, 4, 5, 6}, other[6] = {0};
  tarn_tensor src = wrap_i32(numbers, 6), dst = wrap_i32(other, 6), zeroed = {0};
  tarn_tensor wrong = src;
  expect_failure(TARN_INVALID_ARGUMENT, &dst, &zeroed);
  expect_failure(TARN_INVALID_ARGUMENT, &zeroed, &src);
  expect_failure(TARN_INVALID_ARGUMENT, NULL, &src);
  wrong.dtype = tarn_dtype_make(TARN_CODE_OPAQUE, 32, 1);
  expect_failure(TARN_NOT_SUPPORTED, &dst, &wrong);
  wrong = src;
  assert_ok(tarn_tensor_narrow(&wrong, 0, 0, 5));
  expect_failure(TARN_INVALID_ARGUMENT, &dst, &wrong); /* 5 cannot be broadcast to 6 */
  expect_failure(TARN_INVALID_ARGUMENT, &wrong, &dst);
  wrong.layout.offset = 2; /* a value that somebody wrote by hand */
  expect_failure(TARN_INVALID_ARGUMENT, &dst, &wrong);
  wrong.layout.offset = -1;
  expect_failure(TARN_INVALID_ARGUMENT, &wrong, &dst);
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = other,
                    .size_bytes = sizeof other,
                    .flags = TARN_STORAGE_READ_ONLY};
  tarn_tensor locked;
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, 1, (int64_t[]){6}, NULL, 0, &locked));
  expect_failure(TARN_READ_ONLY, &locked, &src);
  assert_ok(tarn_tensor_copy(&src, &locked, NULL, NULL));
  tarn_copy_report report = {.struct_size = 1};
  assert_int_equal(tarn_tensor_copy(&dst, &src, NULL, &report), TARN_INVALID_ARGUMENT);
  tarn_tensor_release(&locked);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

/* Sums that wrap around would lie inside again. */
TEST(numbers_that_are_no_layout_are_refused) {
  int32_t numbers[6] = {0}, other[6] = {0};
  tarn_tensor src = wrap_i32(numbers, 6), dst = wrap_i32(other, 6);
  tarn_tensor far_src = src, far_dst = dst;
  far_src.layout = far_dst.layout =
      (tarn_layout){.rank = 1, .shape = {5}, .strides = {INT64_C(1) << 62}};
  expect_failure(TARN_INVALID_ARGUMENT, &far_dst, &far_src);
  far_src.layout = far_dst.layout =
      (tarn_layout){.rank = 2, .shape = {INT64_C(1) << 32, INT64_C(1) << 32}, .strides = {0, 0}};
  expect_failure(TARN_INVALID_ARGUMENT, &dst, &far_src);
  expect_failure(TARN_INVALID_ARGUMENT, &far_dst, &far_src);
  const int32_t ranks[] = {-1, TARN_RANK_MAX + 1, INT32_MAX};
  for (int i = 0; i < 3; i++) {
    far_src = src;
    far_dst = dst;
    far_src.layout.rank = far_dst.layout.rank = ranks[i];
    expect_failure(TARN_INVALID_ARGUMENT, &far_dst, &far_src);
    expect_failure(TARN_INVALID_ARGUMENT, &far_dst, &src);
    expect_failure(TARN_INVALID_ARGUMENT, &dst, &far_src);
  }
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

/* The same answer for each dtype that can be written down, however short the way. */
TEST(packed_copies_take_the_dtypes_that_there_are) {
  static char from[64], to[64];
  tarn_tensor src = wrap(from, sizeof from, TARN_U8, (tarn_layout){.rank = 0});
  tarn_tensor dst = wrap(to, sizeof to, TARN_U8, (tarn_layout){.rank = 0});
  for (unsigned code = 0; code < 256; code++) {
    for (unsigned bits = 0; bits < 256; bits++) {
      for (unsigned lanes = 0; lanes < 3; lanes++) {
        src.dtype = dst.dtype = (tarn_dtype){(uint8_t)code, (uint8_t)bits, (uint16_t)lanes};
        tarn_copy_report report = {.struct_size = sizeof report};
        assert_int_equal(tarn_tensor_copy(&dst, &src, NULL, &report), tarn_dtype_check(dst.dtype));
        assert_int_equal(report.moved_bytes, tarn_dtype_size_bytes(dst.dtype));
      }
    }
  }
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

/* What stands in the way of a packed copy, one thing at a time. */
TEST(packed_copies_are_refused_for_all_reasons) {
  int32_t from[8] = {1, 2, 3}, to[8] = {0};
  const tarn_tensor good_src = wrap_i32(from, 8), good_dst = wrap_i32(to, 8);
  tarn_tensor src = good_src, dst = good_dst;
  dst.layout.offset = 1;
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_INVALID_ARGUMENT);
  dst.layout.offset = -1;
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_INVALID_ARGUMENT);
  dst = good_dst;
  src.layout.offset = INT64_MAX / 4 - 6; /* its bytes do not fit 64 bits */
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_INVALID_ARGUMENT);
  src = good_src;
  src.layout.shape[0] = 9;
  dst.layout.shape[0] = 9;
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_INVALID_ARGUMENT);
  dst = good_dst;
  src.layout.shape[0] = 7;
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_INVALID_ARGUMENT);
  src = good_src;
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = to,
                    .size_bytes = sizeof to,
                    .flags = TARN_STORAGE_READ_ONLY};
  assert_ok(tarn_storage_wrap(&blob, &dst.storage));
  assert_status(tarn_tensor_copy(&dst, &src, NULL, NULL), TARN_READ_ONLY);
  tarn_tensor_release(&dst);
  dst = good_dst;
  tarn_copy_report report = {.struct_size = sizeof report - 1};
  assert_status(tarn_tensor_copy(&dst, &src, NULL, &report), TARN_INVALID_ARGUMENT);
  for (int i = 0; i < 8; i++) assert_int_equal(to[i], 0);
  tarn_tensor_release(&src);
  tarn_tensor_release(&dst);
}

TEST(device_memory_needs_a_stream) {
  int32_t numbers[6] = {0};
  tarn_tensor host = wrap_i32(numbers, 6), device;
  tarn_blob blob = {.struct_size = sizeof blob,
                    .address = (void *)(uintptr_t)0x1000,
                    .size_bytes = 24,
                    .device = {TARN_DEVICE_CUDA, 0}};
  assert_ok(tarn_tensor_wrap(&blob, TARN_I32, 1, (int64_t[]){6}, NULL, 0, &device));
  expect_failure(TARN_NOT_SUPPORTED, &host, &device);
  expect_failure(TARN_NOT_SUPPORTED, &device, &host);
  tarn_tensor_release(&device);
  tarn_tensor_release(&host);
}

/* A pool whose blocks cannot be noted: the copy has to be waited for instead. */
static tarn_status broken_attributes(void *context, tarn_pool_attributes *attributes) {
  (void)context;
  attributes->device = tarn_device_make(TARN_DEVICE_CPU, 0);
  attributes->alignment_bytes = 16;
  return TARN_OK;
}
static tarn_status broken_alloc(void *context, size_t size_bytes, size_t alignment_bytes,
                                tarn_stream *stream, void **address) {
  (void)context, (void)alignment_bytes, (void)stream;
  *address = malloc(size_bytes);
  return *address != NULL ? TARN_OK : tarn_fail(TARN_OUT_OF_MEMORY, "no memory");
}
static tarn_status broken_free(void *context, void *address, tarn_stream *stream) {
  (void)context, (void)stream;
  free(address);
  return TARN_OK;
}
static tarn_status broken_note_use(void *context, void *address, tarn_stream *stream) {
  (void)context, (void)address, (void)stream;
  return tarn_fail(TARN_OUT_OF_MEMORY, "no memory to note it");
}
static tarn_status broken_stats(void *context, tarn_pool_stats *stats) {
  (void)context, (void)stats;
  return TARN_OK;
}

TEST(a_use_that_cannot_be_noted_is_waited_for) {
  static const tarn_pool_ops ops = {.struct_size = sizeof ops,
                                    .name = "broken",
                                    .attributes = broken_attributes,
                                    .alloc = broken_alloc,
                                    .free = broken_free,
                                    .note_use = broken_note_use,
                                    .stats = broken_stats};
  tarn_pool *broken;
  tarn_stream *stream;
  tarn_tensor src = filled(100, 3), dst;
  assert_ok(tarn_pool_create(&ops, NULL, &broken));
  assert_ok(manual_stream_create(&stream));
  assert_ok(tarn_tensor_create(broken, TARN_I32, 1, (int64_t[]){100}, NULL, &dst));
  tarn_copy_report report = {.struct_size = sizeof report};
  assert_ok(tarn_tensor_copy(&dst, &src, stream, &report));
  assert_true(report.was_synchronous);
  assert_int_equal(manual_stream_pending(stream), 0);
  assert_memory_equal(tarn_tensor_data(&dst), tarn_tensor_data(&src), 400);
  tarn_tensor_release(&dst);
  tarn_tensor_release(&src);
  tarn_stream_release(stream);
  tarn_pool_release(broken);
}

int main(void) {
  return run_listed_tests(make_pool, drop_pool);
}
