/* test_copy_walk.c: which kernel a walk chooses, in which order it goes, and how it is cut. */
#include "tests/support/test.h"

#include "tensor/copy_host.h"
#include "tensor/copy_walk.h"
#include "tensor/cpu_level.h"
#include "tests/tensor/layout_model.h"

static tarn__copy_walk walk_of(tarn_layout dst, tarn_layout src, size_t element_bytes) {
  tarn__copy_plan plan;
  tarn__copy_walk walk;
  tarn__copy_plan_make(&dst, &src, element_bytes, element_bytes, &plan);
  tarn__copy_walk_make(&plan, &walk);
  return walk;
}

static tarn_layout sliced(tarn_layout layout, int32_t dim, int64_t step) {
  assert_ok(tarn_layout_slice(&layout, dim, TARN_SLICE_OPEN, TARN_SLICE_OPEN, step));
  return layout;
}

static tarn_layout transposed(tarn_layout layout) {
  assert_ok(tarn_layout_transpose(&layout, 0, 1));
  return layout;
}

static tarn_layout expanded(tarn_layout layout, int64_t rows, int64_t columns) {
  assert_ok(tarn_layout_expand(&layout, 2, (int64_t[]){rows, columns}));
  return layout;
}

static void assert_dim(tarn__copy_dim dim, int64_t count, int64_t dst_stride, int64_t src_stride) {
  assert_int_equal(dim.count, count);
  assert_int_equal(dim.dst_stride, dst_stride);
  assert_int_equal(dim.src_stride, src_stride);
}

/* --- choices --- */

TEST(each_kind_of_copy_has_its_executor) {
  const tarn_layout square = ROW_MAJOR(32, 32), wide = ROW_MAJOR(32, 64);
  assert_int_equal(walk_of(square, square, 4).executor, TARN__COPY_BY_MEMCPY);
  assert_int_equal(walk_of(ROW_MAJOR(3, 0), ROW_MAJOR(3, 0), 4).executor, TARN__COPY_BY_NOTHING);
  assert_int_equal(walk_of(square, transposed(square), 4).executor, TARN__COPY_BY_TRANSPOSE);
  assert_int_equal(walk_of(square, sliced(wide, 1, 2), 4).executor, TARN__COPY_BY_GATHER);
  assert_int_equal(walk_of(sliced(wide, 1, 2), square, 4).executor, TARN__COPY_BY_SCATTER);
  assert_int_equal(walk_of(square, sliced(square, 1, -1), 4).executor, TARN__COPY_BY_FLIP);
  assert_int_equal(walk_of(square, expanded(ROW_MAJOR(32, 1), 32, 32), 4).executor,
                   TARN__COPY_BY_BROADCAST);
  assert_int_equal(walk_of(square, expanded(ROW_MAJOR(1, 32), 32, 32), 4).executor,
                   TARN__COPY_BY_BROADCAST);
  assert_int_equal(walk_of(ROW_MAJOR(32, 256), sliced(ROW_MAJOR(64, 256), 0, 2), 4).executor,
                   TARN__COPY_BY_ROWS);
  assert_int_equal(walk_of(ROW_MAJOR(32, 256), sliced(ROW_MAJOR(32, 256), 0, -1), 4).executor,
                   TARN__COPY_BY_ROWS);
  /* Turned, but no side is consecutive in elements of one size. */
  assert_int_equal(walk_of(square, transposed(square), 12).executor, TARN__COPY_BY_STRIDED);
  assert_int_equal(walk_of(square, sliced(transposed(wide), 0, 2), 4).executor,
                   TARN__COPY_BY_STRIDED);
}

static tarn__copy_executor executor_of_columns(int64_t rows, int64_t columns,
                                               size_t element_bytes) {
  return walk_of(ROW_MAJOR(rows, columns), transposed(ROW_MAJOR(columns, rows)), element_bytes)
      .executor;
}

TEST(few_long_columns_that_fill_the_destination_are_interleaved) {
  assert_int_equal(executor_of_columns(5000, 3, 1), TARN__COPY_BY_INTERLEAVE);
  assert_int_equal(executor_of_columns(5000, 8, 4), TARN__COPY_BY_INTERLEAVE);
  assert_int_equal(executor_of_columns(5000, 9, 1), TARN__COPY_BY_TRANSPOSE);
  /* Rows of a line, which a transpose can stream. */
  assert_int_equal(executor_of_columns(5000, 8, 8), TARN__COPY_BY_TRANSPOSE);
  assert_int_equal(executor_of_columns(5000, 3, 16), TARN__COPY_BY_TRANSPOSE);
  /* Few bytes, and short columns of which there are many. */
  assert_int_equal(executor_of_columns(1000, 3, 1), TARN__COPY_BY_TRANSPOSE);
  tarn_layout src = ROW_MAJOR(1000, 3, 60);
  assert_ok(tarn_layout_permute(&src, 3, (int32_t[]){0, 2, 1}));
  assert_int_equal(walk_of(ROW_MAJOR(1000, 60, 3), src, 1).executor, TARN__COPY_BY_TRANSPOSE);
  /* Rows with something between them, and columns that run backwards. */
  tarn_layout spaced = ROW_MAJOR(5000, 4);
  assert_ok(tarn_layout_narrow(&spaced, 1, 0, 3));
  const tarn_layout columns = transposed(ROW_MAJOR(3, 5000));
  assert_int_equal(walk_of(spaced, columns, 1).executor, TARN__COPY_BY_TRANSPOSE);
  assert_int_equal(walk_of(ROW_MAJOR(5000, 3), sliced(columns, 0, -1), 1).executor,
                   TARN__COPY_BY_TRANSPOSE);
}

TEST(a_transpose_of_backward_rows_is_walked_from_their_end) {
  const tarn_layout square = ROW_MAJOR(32, 32);
  const tarn__copy_walk walk = walk_of(square, transposed(sliced(square, 1, -1)), 4);
  assert_int_equal(walk.executor, TARN__COPY_BY_TRANSPOSE);
  assert_dim(walk.outer, 32, -128, 4);
  assert_int_equal(walk.dst_offset, 31 * 128);
  assert_int_equal(walk.src_offset, 0);
}

/* Planes that read less than a line of the source at a time: what is next to it comes next. */
TEST(loops_around_short_reads_follow_the_source) {
  tarn_layout src = ROW_MAJOR(16, 32, 32, 32, 8);
  assert_ok(tarn_layout_permute(&src, 5, (int32_t[]){0, 3, 1, 4, 2}));
  const tarn__copy_walk walk = walk_of(ROW_MAJOR(16, 32, 32, 8, 32), src, 4);
  assert_int_equal(walk.executor, TARN__COPY_BY_TRANSPOSE);
  assert_int_equal(walk.rank, 3);
  assert_dim(walk.loops[0], 16, 1 << 20, 1 << 20);
  assert_dim(walk.loops[1], 32, 1 << 10, 1 << 15);
  assert_dim(walk.loops[2], 32, 1 << 15, 32);
  assert_dim(walk.outer, 8, 128, 4);
  assert_dim(walk.inner, 32, 4, 1024);
}

TEST(interleaved_planes_are_gathered_while_they_are_cached) {
  tarn_layout src = ROW_MAJOR(100, 100, 3);
  assert_ok(tarn_layout_permute(&src, 3, (int32_t[]){2, 0, 1}));
  const tarn__copy_walk walk = walk_of(ROW_MAJOR(3, 100, 100), src, 1);
  assert_int_equal(walk.executor, TARN__COPY_BY_GATHER);
  assert_dim(walk.outer, 3, 10000, 1);
  assert_dim(walk.inner, 10000, 1, 3);
  assert_true(walk.tile < 10000);
}

TEST(only_large_destinations_with_whole_lines_are_streamed) {
  assert_false(walk_of(ROW_MAJOR(1023, 4096), ROW_MAJOR(1023, 4096), 4).is_streaming);
  assert_true(walk_of(ROW_MAJOR(1024, 4096), ROW_MAJOR(1024, 4096), 4).is_streaming);
  assert_true(walk_of(ROW_MAJOR(4096, 4096), sliced(ROW_MAJOR(4096, 8192), 1, 2), 4).is_streaming);
  /* Half of every line would be somebody else's. */
  assert_false(walk_of(sliced(ROW_MAJOR(4096, 8192), 1, 2), ROW_MAJOR(4096, 4096), 4).is_streaming);
  tarn_layout narrow = ROW_MAJOR(1 << 18, 100);
  assert_ok(tarn_layout_narrow(&narrow, 1, 0, 50));
  assert_false(walk_of(narrow, ROW_MAJOR(1 << 18, 50), 4).is_streaming);
}

/* --- runs --- */

enum { BUFFER_BYTES = 1 << 16, GUARD = 0x5A };
static char destination[BUFFER_BYTES], wanted[BUFFER_BYTES], source[BUFFER_BYTES];

/* Planes of a few long columns, forwards or in the opposite order, into packed rows. */
static void columns_pair(uint64_t *random, tarn_layout *to, tarn_layout *from,
                         size_t *element_bytes) {
  *element_bytes = (size_t)1 << random_in(random, 0, 3);
  const int64_t columns = random_in(random, 2, 8), planes = random_in(random, 1, 3);
  const int64_t most = (BUFFER_BYTES - 4096) / (int64_t)*element_bytes / planes / columns - 9;
  const int64_t rows = random_in(random, 64, most < 3000 ? most : 3000);
  const int64_t pitch = rows + random_in(random, 0, 9);
  *to = ROW_MAJOR(planes, rows, columns);
  *from = *to;
  from->strides[0] = columns * pitch;
  from->strides[1] = 1;
  from->strides[2] = random_in(random, 0, 3) == 0 ? -pitch : pitch;
  from->offset = from->strides[2] < 0 ? (columns - 1) * pitch : 0;
  from->offset += random_in(random, 0, 63);
  to->offset = random_in(random, 0, 63);
}

/* A random pair of layouts that fits the buffers. */
static void random_pair(uint64_t *random, tarn_layout *to, tarn_layout *from,
                        size_t *element_bytes) {
  static const size_t sizes[] = {1, 2, 4, 8, 16, 3, 12, 32, 64, 640};
  if (random_in(random, 0, 15) == 0) {
    columns_pair(random, to, from, element_bytes);
    return;
  }
  for (;;) {
    int64_t shape[TARN_RANK_MAX], first, to_end, from_end;
    const bool is_large = random_in(random, 0, 7) == 0;
    *element_bytes = sizes[random_in(random, 0, COUNT_OF(sizes) - 1)];
    const int32_t rank = random_shape(random, is_large ? 200 : 9, is_large ? 4000 : 300, shape);
    *to = random_layout_of(random, rank, shape, /*may_overlap=*/false);
    *from = random_layout_of(random, rank, shape, /*may_overlap=*/true);
    tarn_layout_bounds(to, &first, &to_end);
    tarn_layout_bounds(from, &first, &from_end);
    if ((size_t)to_end * *element_bytes <= BUFFER_BYTES &&
        (size_t)from_end * *element_bytes <= BUFFER_BYTES) {
      return;
    }
  }
}

static void run_random_walks(uint64_t seed, int rounds, int part_count, int seen[]) {
  uint64_t random = seed;
  random_fill(&random, source, sizeof source);
  for (int round = 0; round < rounds; round++) {
    tarn_layout to, from;
    size_t element_bytes;
    random_pair(&random, &to, &from, &element_bytes);
    memset(destination, GUARD, sizeof destination);
    memset(wanted, GUARD, sizeof wanted);
    model_copy(&to, wanted, &from, source, element_bytes);
    const tarn__copy_walk walk = walk_of(to, from, element_bytes);
    seen[walk.executor]++;
    const int64_t count = tarn__copy_walk_part_count(&walk, part_count);
    for (int64_t i = count - 1; i >= 0; i--) {
      tarn__copy_walk part;
      tarn__copy_walk_part(&walk, i, count, &part);
      tarn__copy_host_walk(&part, destination, source);
    }
    if (memcmp(destination, wanted, sizeof wanted) != 0) {
      fail_msg("%s, round %d", tarn__copy_executor_name(walk.executor), round);
    }
  }
}

static void assert_all_seen(const int *seen) {
  for (int i = 0; i <= TARN__COPY_BY_STRIDED; i++) assert_true(seen[i] > 10);
}

TEST(each_walk_equals_the_model_at_every_level) {
  for (int level = TARN__CPU_PORTABLE; level <= TARN__CPU_AVX512; level++) {
    int seen[TARN__COPY_BY_STRIDED + 1] = {0};
    tarn__cpu_level_limit((tarn__cpu_level)level);
    run_random_walks(17, 3000, 1, seen);
    assert_all_seen(seen);
  }
}

TEST(streamed_walks_equal_the_model_at_every_level) {
  tarn__copy_walk_limits(1, 0);
  for (int level = TARN__CPU_PORTABLE; level <= TARN__CPU_AVX512; level++) {
    int seen[TARN__COPY_BY_STRIDED + 1] = {0};
    tarn__cpu_level_limit((tarn__cpu_level)level);
    run_random_walks(19, 3000, 1, seen);
    assert_all_seen(seen);
  }
  tarn__copy_walk_limits(0, 0);
}

TEST(parts_of_a_walk_are_the_walk) {
  int seen[TARN__COPY_BY_STRIDED + 1] = {0};
  for (size_t stream_bytes = 0; stream_bytes < 2; stream_bytes++) {
    tarn__copy_walk_limits(stream_bytes, 1);
    for (int thread_count = 2; thread_count <= 5; thread_count++) {
      run_random_walks(29, 1500, thread_count, seen);
    }
  }
  tarn__copy_walk_limits(0, 0);
  assert_all_seen(seen);
}

/* Each part alone, and how often each byte was written. */
TEST(no_byte_belongs_to_two_parts) {
  static uint8_t written[BUFFER_BYTES];
  uint64_t random = 31;
  memset(source, 1, sizeof source);
  tarn__copy_walk_limits(0, 1);
  for (int round = 0; round < 1000; round++) {
    tarn_layout to, from;
    size_t element_bytes;
    random_pair(&random, &to, &from, &element_bytes);
    const tarn__copy_walk walk = walk_of(to, from, element_bytes);
    const int64_t count = tarn__copy_walk_part_count(&walk, 3);
    size_t part_bytes = 0;
    memset(written, 0, sizeof written);
    for (int64_t i = 0; i < count; i++) {
      tarn__copy_walk part;
      memset(destination, 0, sizeof destination);
      tarn__copy_walk_part(&walk, i, count, &part);
      tarn__copy_host_walk(&part, destination, source);
      part_bytes += part.total_bytes;
      for (size_t b = 0; b < sizeof written; b++) written[b] += (uint8_t)destination[b];
    }
    size_t once = 0;
    for (size_t b = 0; b < sizeof written; b++) {
      assert_true(written[b] <= 1);
      once += written[b];
    }
    assert_int_equal(once, walk.total_bytes);
    assert_int_equal(part_bytes, walk.total_bytes);
  }
  tarn__copy_walk_limits(0, 0);
}

TEST(parts_are_not_made_for_one_thread_nor_too_small) {
  const tarn__copy_walk walk = walk_of(ROW_MAJOR(1024, 1024), transposed(ROW_MAJOR(1024, 1024)), 4);
  assert_int_equal(tarn__copy_walk_part_count(&walk, 1), 1);
  assert_int_equal(tarn__copy_walk_part_count(&walk, 2), 4);
  assert_int_equal(tarn__copy_walk_part_count(&walk, 64), 4);
  const tarn__copy_walk small = walk_of(ROW_MAJOR(500, 512), transposed(ROW_MAJOR(512, 500)), 4);
  assert_int_equal(tarn__copy_walk_part_count(&small, 64), 1);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
