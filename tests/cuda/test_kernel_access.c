/* test_kernel_access.c: how warps touch memory: whole lines of it, and shared memory without
 * conflicts. */
#include "cuda/sim/sim_bodies.h" /* first: what the bodies are made of */

#include "cuda/grid_plan.h"
#include "cuda/kernel_convert.h"
#include "tests/support/test.h"

/* --- what the bodies do, instead of memory: each access of each thread is written down --- */

enum { ACCESSES_MAX = 4096, WARP = 32, LINE_BYTES = 128, BANKS = 32 };

typedef struct access {
  uint64_t address;
  size_t size_bytes;
  bool is_shared;
  bool is_written;
} access;

static access accesses[WARP][ACCESSES_MAX];
static size_t counts[WARP];
static int lane;

static void *note(uint64_t address, size_t size_bytes, bool is_shared, bool is_written) {
  static unsigned char nothing[16];
  assert_true(counts[lane] < ACCESSES_MAX);
  accesses[lane][counts[lane]++] = (access){address, size_bytes, is_shared, is_written};
  return nothing;
}

void *sim_launch_reach(uint64_t address, size_t size_bytes, bool is_written) {
  return note(address, size_bytes, /*is_shared=*/false, is_written);
}

void *sim_launch_share(uint32_t offset, size_t size_bytes, bool is_written) {
  return note(offset, size_bytes, /*is_shared=*/true, is_written);
}

/* --- what a processor makes of them --- */

typedef struct cost {
  size_t waves; /* of shared memory: 128 bytes each at best */
  size_t waves_least;
  size_t sectors; /* of global memory: 32 bytes */
  size_t sectors_least;
} cost;

static void add_distinct(uint64_t *found, size_t *count, uint64_t value) {
  for (size_t i = 0; i < *count; i++) {
    if (found[i] == value) return;
  }
  found[(*count)++] = value;
}

/* Threads of as many as fit 128 bytes go together; a wave gives each bank one word. */
static void add_shared(size_t n, cost *sum) {
  const size_t size_bytes = accesses[0][n].size_bytes;
  const int together = size_bytes <= 4 ? WARP : (int)(LINE_BYTES / size_bytes);
  for (int first = 0; first < WARP; first += together) {
    uint64_t words[BANKS][WARP * 4];
    size_t in_bank[BANKS] = {0}, most = 0;
    for (int l = first; l < first + together; l++) {
      const uint64_t start = accesses[l][n].address / 4;
      for (uint64_t word = start; word < start + (size_bytes + 3) / 4; word++) {
        add_distinct(words[word % BANKS], &in_bank[word % BANKS], word);
      }
    }
    for (int bank = 0; bank < BANKS; bank++) most = in_bank[bank] > most ? in_bank[bank] : most;
    sum->waves += most;
    sum->waves_least++;
  }
}

static void add_global(size_t n, cost *sum) {
  uint64_t sectors[WARP * 2];
  size_t count = 0;
  const size_t size_bytes = accesses[0][n].size_bytes;
  for (int l = 0; l < WARP; l++) add_distinct(sectors, &count, accesses[l][n].address / 32);
  sum->sectors += count;
  sum->sectors_least += (WARP * size_bytes + 31) / 32;
}

/* All threads of a warp have done as many accesses of the same kinds. */
static cost cost_of_warp(void) {
  cost sum = {0};
  for (size_t n = 0; n < counts[0]; n++) {
    for (int l = 1; l < WARP; l++) {
      assert_int_equal(counts[l], counts[0]);
      assert_int_equal(accesses[l][n].size_bytes, accesses[0][n].size_bytes);
    }
    if (accesses[0][n].is_shared) {
      add_shared(n, &sum);
    } else {
      add_global(n, &sum);
    }
  }
  return sum;
}

/* --- turns --- */

static tarn__grid_launch plan_turn_of(uint32_t element_bytes, int64_t size) {
  const int64_t shape[] = {size, size};
  const int64_t bytes = element_bytes;
  const int64_t dst[] = {size * bytes, bytes}, src[] = {bytes, size * bytes};
  const tarn_element_type type = {.bits = 8, .lanes = 1};
  const tarn_copy_grid grid = {.dst = (void *)(uintptr_t)(1 << 20),
                               .src = (const void *)(uintptr_t)(1 << 30),
                               .rank = 2,
                               .shape = shape,
                               .dst_strides_bytes = dst,
                               .src_strides_bytes = src,
                               .dst_type = type,
                               .src_type = type,
                               .element_bytes = element_bytes};
  tarn__grid reduced;
  tarn__grid_launch launch;
  assert_int_equal(tarn__grid_reduce(&grid, &reduced), TARN_OK);
  tarn__grid_plan(&reduced, &launch);
  return launch;
}

static void run_turn(const tarn__kernel_turn_args *args, uint32_t thread, int phase) {
#define SIZE(bytes)                                         \
  case bytes:                                               \
    if (phase == 0) {                                       \
      tarn__turn_load(args, 1, thread, NULL, bytes, bytes); \
    } else {                                                \
      tarn__turn_store(args, 1, thread, NULL, bytes);       \
    }                                                       \
    break;
  switch (args->src_bytes) { SIZE(1) SIZE(2) SIZE(4) SIZE(8) SIZE(16) default : fail(); }
#undef SIZE
}

TEST(turns_touch_whole_lines_and_no_bank_twice) {
  static const tarn__kernel kernels[] = {TARN__KERNEL_turn_1, TARN__KERNEL_turn_2,
                                         TARN__KERNEL_turn_4, TARN__KERNEL_turn_8,
                                         TARN__KERNEL_turn_16};
  for (int size = 0; size < 5; size++) {
    const tarn__grid_launch launch = plan_turn_of(1u << size, 512);
    assert_int_equal(launch.kernel, kernels[size]);
    for (int warp = 0; warp < TARN__KERNEL_THREADS / WARP; warp++) {
      for (int phase = 0; phase < 2; phase++) {
        memset(counts, 0, sizeof counts);
        for (lane = 0; lane < WARP; lane++) {
          run_turn(&launch.as.turn, (uint32_t)(warp * WARP + lane), phase);
        }
        const cost sum = cost_of_warp();
        assert_int_equal(sum.waves, sum.waves_least);
        assert_int_equal(sum.sectors, sum.sectors_least);
        /* Four accesses of 16 bytes: what a thread has under way at once. */
        size_t wide = 0;
        for (size_t n = 0; n < counts[0]; n++) {
          wide += !accesses[0][n].is_shared && accesses[0][n].size_bytes == 16;
        }
        assert_int_equal(wide, 4);
      }
    }
  }
}

/* --- runs --- */

static tarn__grid_launch plan_line_of(int64_t count, uint64_t dst, int64_t src_stride) {
  const tarn__grid grid = {.dst = dst,
                           .src = 1 << 30,
                           .rank = 1,
                           .dims = {{count, 2, src_stride}},
                           .dst_bytes = 2,
                           .src_bytes = 4,
                           .converts = true,
                           .dst_type = TARN__TYPE_F16,
                           .src_type = TARN__TYPE_F32};
  tarn__grid_launch launch;
  tarn__grid_plan(&grid, &launch);
  return launch;
}

/* Wherever a line begins, and however far apart its source's elements are. */
TEST(straight_items_are_where_digits_would_have_them) {
  static const int64_t lengths[] = {1, 3, 4, 5, 1023, 100000};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    for (uint64_t start = 0; start < 10; start += 2) {
      for (int64_t stride = 4; stride <= 36; stride += 32) {
        const tarn__grid_launch launch = plan_line_of(lengths[i], 4096 + start, stride);
        tarn__kernel_run_args by_digits = launch.as.run;
        by_digits.straight_count = 0;
        for (uint32_t n = 0; n < launch.as.run.item_count + 3; n++) {
          const tarn__item found = tarn__find_item(&launch.as.run, n, 1);
          const tarn__item wanted = tarn__find_item(&by_digits, n, 1);
          assert_int_equal(found.end - found.first, wanted.end - wanted.first);
          if (found.end == found.first) continue;
          assert_int_equal(found.first, wanted.first);
          assert_int_equal(found.dst, wanted.dst);
          assert_int_equal(found.src, wanted.src);
          if (launch.as.run.chunk > 1) assert_int_equal(found.column, wanted.column);
        }
      }
    }
  }
}

TEST(all_whole_chunks_of_a_dense_line_are_straight) {
  const tarn__grid_launch launch = plan_line_of(100003, 4096, 4);
  assert_int_equal(launch.as.run.chunk, 4);
  assert_int_equal(launch.as.run.straight_count, 25000);
}

/* --- division --- */

TEST(dividing_by_a_factor_is_exact) {
  static const uint32_t sizes[] = {1, 2, 3, 5, 7, 10, 641, 65535, 65536, 65537, 1u << 29, 1u << 30};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    const tarn__kernel_divisor by = tarn__kernel_divisor_of(sizes[i]);
    for (uint32_t k = 0; k < 2000; k++) {
      const uint32_t around = k * 1073741u;
      const uint32_t multiple = around / sizes[i] * sizes[i];
      const uint32_t numbers[] = {k, around, multiple, multiple - (multiple != 0)};
      for (int n = 0; n < 4; n++) {
        if (numbers[n] > INT32_MAX) continue;
        assert_int_equal(tarn__divide(numbers[n], &by), numbers[n] / sizes[i]);
      }
    }
  }
}

/* --- cutting --- */

static int64_t count_elements(const tarn__grid *grid) {
  int64_t count = 1;
  for (int32_t d = 0; d < grid->rank; d++) count *= grid->dims[d].size;
  return count;
}

/* Parts cover what the whole covers: as many elements, from the first to the last. */
static int64_t cut(const tarn__grid *grid, uint64_t *last_dst, uint64_t *last_src) {
  if (tarn__grid_fits(grid)) {
    tarn__grid_launch launch;
    tarn__grid_plan(grid, &launch);
    assert_true(launch.block_count <= INT32_MAX);
    uint64_t dst = grid->dst, src = grid->src;
    for (int32_t d = 0; d < grid->rank; d++) {
      dst += (uint64_t)((grid->dims[d].size - 1) * grid->dims[d].dst);
      src += (uint64_t)((grid->dims[d].size - 1) * grid->dims[d].src);
    }
    if (dst > *last_dst) *last_dst = dst;
    if (src > *last_src) *last_src = src;
    return count_elements(grid);
  }
  tarn__grid halves[2];
  tarn__grid_halve(grid, halves);
  return cut(&halves[0], last_dst, last_src) + cut(&halves[1], last_dst, last_src);
}

TEST(grids_beyond_one_launch_are_cut_into_parts_that_cover_them) {
  const tarn__grid grid = {.dst = 4096,
                           .src = 8192,
                           .rank = 3,
                           .dims = {{3000, 4, 4 * 7}, {700001, 12000, 4}, {9, 12000LL * 700001, 0}},
                           .dst_bytes = 4,
                           .src_bytes = 4};
  uint64_t last_dst = 0, last_src = 0;
  assert_false(tarn__grid_fits(&grid));
  assert_int_equal(cut(&grid, &last_dst, &last_src), count_elements(&grid));
  assert_int_equal(last_dst, 4096 + 2999 * 4 + 700000 * 12000LL + 8 * 12000LL * 700001);
  assert_int_equal(last_src, 8192 + 2999 * 28 + 700000 * 4);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
