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

static size_t touch_run(const void *given, sim_region regions[SIM_REGIONS_MAX]) {
  const tarn__kernel_run_args *args = given;
  regions[0] = (sim_region){
      .start = args->dst, .run_bytes = (size_t)args->run * args->element_bytes, .is_written = true};
  add_digits(&regions[0], args->digits, args->digit_count, /*is_dst=*/true);
  if (args->src == 0) return 1; /* a fill */
  const uint32_t inner = args->inner.size;
  regions[1] = (sim_region){.start = args->src, .run_bytes = args->src_bytes};
  if (args->is_src_dense) {
    regions[1].run_bytes *= args->run;
  } else {
    add_dim(&regions[1], inner, args->src_step);
    add_dim(&regions[1], args->run / inner, args->src_step * inner + args->src_wrap);
  }
  add_digits(&regions[1], args->digits, args->digit_count, /*is_dst=*/false);
  return 2;
}

static size_t touch_turn(const void *given, sim_region regions[SIM_REGIONS_MAX]) {
  const tarn__kernel_turn_args *args = given;
  regions[0] = (sim_region){
      .start = args->dst, .run_bytes = (size_t)args->size_i * args->dst_bytes, .is_written = true};
  add_dim(&regions[0], args->size_j, args->dst_stride_j);
  add_digits(&regions[0], args->digits, args->digit_count, /*is_dst=*/true);
  regions[1] = (sim_region){.start = args->src, .run_bytes = args->src_bytes};
  add_dim(&regions[1], args->size_j, args->src_stride_j);
  add_dim(&regions[1], args->size_i, args->src_stride_i);
  add_digits(&regions[1], args->digits, args->digit_count, /*is_dst=*/false);
  return 2;
}

/* --- the table --- */

static const sim_code codes[TARN__KERNEL_COUNT] = {
#define CODE(kernel, arguments, phases, shared, touched) \
  {.name = "tarn_" #kernel,                              \
   .argument_bytes = sizeof(arguments),                  \
   .phase_count = (phases),                              \
   .threads_max = TARN__KERNEL_THREADS,                  \
   .shared_bytes = (shared),                             \
   .run = run_##kernel,                                  \
   .touch = (touched)},
#define FLAT(name, arguments, body) CODE(name, arguments, 1, 0, touch_run)
#define TILED(name, arguments, load, store) \
  CODE(name, arguments, 2, TARN__KERNEL_SHARED_BYTES, touch_turn)
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
