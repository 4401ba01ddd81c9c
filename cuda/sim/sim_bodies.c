/* sim_bodies.c: the library's kernels, compiled for the host, and the memory that each touches. */
#include "cuda/sim/sim_bodies.h"

#include "cuda/kernel_convert.h"
#include "cuda/kernel_list.h"
#include "cuda/kernel_run.h"
#include "cuda/kernel_turn.h"

/* --- running --- */

#define FLAT(name, arguments, body)                                                       \
  static void run_##name(const void *given, uint32_t block, uint32_t thread, int phase) { \
    const arguments *const args = given;                                                  \
    (void)phase;                                                                          \
    body;                                                                                 \
  }
#define TILED(name, arguments, load, store)                                               \
  static void run_##name(const void *given, uint32_t block, uint32_t thread, int phase) { \
    const arguments *const args = given;                                                  \
    const tarn__shared shared = NULL;                                                     \
    if (phase == 0) {                                                                     \
      load;                                                                               \
    } else {                                                                              \
      store;                                                                              \
    }                                                                                     \
  }
TARN__KERNELS(FLAT, TILED)
#undef FLAT
#undef TILED

/* --- touching: from the arguments alone, not by what the bodies do --- */

static void add_dim(sim_region *region, uint64_t size, int64_t stride) {
  if (size == 1 || stride == 0) return; /* a source that repeats */
  region->sizes[region->rank] = size;
  region->strides[region->rank++] = stride;
}

static void add_digits(sim_region *region, const tarn__kernel_digit *digits, uint32_t digit_count,
                       bool is_dst) {
  for (uint32_t d = 0; d < digit_count; d++) {
    if (digits[d].chunk_step != 0) continue;
    add_dim(region, digits[d].by.size, is_dst ? digits[d].dst_stride : digits[d].src_stride);
  }
}

static void set_run_dst(const tarn__kernel_run_args *args, size_t element_bytes,
                        sim_region *region) {
  *region =
      (sim_region){.start = args->dst, .run_bytes = args->run * element_bytes, .is_written = true};
  add_digits(region, args->digits, args->digit_count, /*is_dst=*/true);
}

static void set_run_src(const tarn__kernel_run_args *args, size_t element_bytes,
                        sim_region *region) {
  *region = (sim_region){.start = args->src, .run_bytes = element_bytes};
  const uint32_t inner = args->inner.size;
  if (args->is_src_dense) {
    region->run_bytes = args->run * element_bytes;
  } else {
    add_dim(region, inner, args->src_step);
    add_dim(region, args->run / inner, args->src_step * inner + args->src_wrap);
  }
  add_digits(region, args->digits, args->digit_count, /*is_dst=*/false);
}

static size_t touch_run(const tarn__kernel_run_args *args, size_t dst_bytes, size_t src_bytes,
                        sim_region *regions) {
  set_run_dst(args, dst_bytes, &regions[0]);
  if (src_bytes == 0) return 1;
  set_run_src(args, src_bytes, &regions[1]);
  return 2;
}

#define TOUCH_COPY(size)                                                   \
  static size_t touch_copy_##size(const void *args, sim_region *regions) { \
    return touch_run(args, size, size, regions);                           \
  }
TOUCH_COPY(1)
TOUCH_COPY(2)
TOUCH_COPY(4)
TOUCH_COPY(8)
TOUCH_COPY(16)

static size_t touch_fill(const void *given, sim_region *regions) {
  const tarn__kernel_run_args *args = given;
  return touch_run(args, args->element_bytes, 0, regions);
}

static void set_turn_dst(const tarn__kernel_turn_args *args, size_t element_bytes,
                         sim_region *region) {
  *region = (sim_region){
      .start = args->dst, .run_bytes = args->size_i * element_bytes, .is_written = true};
  add_dim(region, args->size_j, args->dst_stride_j);
  add_digits(region, args->digits, args->digit_count, /*is_dst=*/true);
}

static void set_turn_src(const tarn__kernel_turn_args *args, size_t element_bytes,
                         sim_region *region) {
  *region = (sim_region){.start = args->src, .run_bytes = element_bytes};
  add_dim(region, args->size_j, args->src_stride_j);
  add_dim(region, args->size_i, args->src_stride_i);
  add_digits(region, args->digits, args->digit_count, /*is_dst=*/false);
}

#define TOUCH_TURN(size)                                                   \
  static size_t touch_turn_##size(const void *args, sim_region *regions) { \
    set_turn_dst(args, size, &regions[0]);                                 \
    set_turn_src(args, size, &regions[1]);                                 \
    return 2;                                                              \
  }
TOUCH_TURN(1)
TOUCH_TURN(2)
TOUCH_TURN(4)
TOUCH_TURN(8)
TOUCH_TURN(16)

#define TOUCH_CONVERT(name)                                                    \
  static size_t touch_convert_##name(const void *given, sim_region *regions) { \
    const tarn__kernel_run_args *args = given;                                 \
    return touch_run(args, args->element_bytes, args->src_bytes, regions);     \
  }
TOUCH_CONVERT(int_8)
TOUCH_CONVERT(int_4)
TOUCH_CONVERT(int_2)
TOUCH_CONVERT(float_8)
TOUCH_CONVERT(float_4)
TOUCH_CONVERT(float_2)
TOUCH_CONVERT(double_2)
TOUCH_CONVERT(double_1)

#define TOUCH_TURN_CONVERT(name)                                            \
  static size_t touch_turn_##name(const void *given, sim_region *regions) { \
    const tarn__kernel_turn_args *args = given;                             \
    set_turn_dst(args, args->dst_bytes, &regions[0]);                       \
    set_turn_src(args, args->src_bytes, &regions[1]);                       \
    return 2;                                                               \
  }
TOUCH_TURN_CONVERT(int_4)
TOUCH_TURN_CONVERT(float_4)
TOUCH_TURN_CONVERT(double_2)

/* --- the table --- */

static const sim_code codes[TARN__KERNEL_COUNT] = {
#define CODE(kernel, arguments, phases, shared) \
  {.name = "tarn_" #kernel,                     \
   .argument_bytes = sizeof(arguments),         \
   .phase_count = (phases),                     \
   .threads_max = TARN__KERNEL_THREADS,         \
   .shared_bytes = (shared),                    \
   .run = run_##kernel,                         \
   .touch = touch_##kernel},
#define FLAT(name, arguments, body) CODE(name, arguments, 1, 0)
#define TILED(name, arguments, load, store) CODE(name, arguments, 2, TARN__KERNEL_SHARED_BYTES)
    TARN__KERNELS(FLAT, TILED)
#undef FLAT
#undef TILED
#undef CODE
};

const sim_code *sim_code_find(const char *name) {
  for (size_t i = 0; i < TARN__KERNEL_COUNT; i++) {
    if (strcmp(codes[i].name, name) == 0) return &codes[i];
  }
  return NULL;
}
