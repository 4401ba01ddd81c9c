/* kernel_list.h: every kernel by name: what it is launched with, and its body.
 *
 * FLAT(name, arguments, body): threads that know nothing of each other.
 * TILED(name, arguments, load, store): the block's threads do `load`, wait for each other and do
 * `store`. The bodies see `args`, `block`, `thread` and, tiled, `shared`. */
#ifndef CUDA_KERNEL_LIST_H
#define CUDA_KERNEL_LIST_H

#include "cuda/kernel_args.h"

#define TARN__TURN(TILED, size)                                   \
  TILED(turn_##size, tarn__kernel_turn_args,                      \
        tarn__turn_load(args, block, thread, shared, size, size), \
        tarn__turn_store(args, block, thread, shared, size))

#define TARN__CONVERT(FLAT, way, WAY, places)           \
  FLAT(convert_##way##_##places, tarn__kernel_run_args, \
       tarn__convert_body(args, block, thread, WAY, places))
#define TARN__TURN_CONVERT(TILED, way, WAY, places)               \
  TILED(turn_##way##_##places, tarn__kernel_turn_args,            \
        tarn__turn_load_any(args, block, thread, shared, places), \
        tarn__turn_store_converted(args, block, thread, shared, WAY, places))

#define TARN__KERNELS(FLAT, TILED)                                               \
  FLAT(copy_1, tarn__kernel_run_args, tarn__copy_body(args, block, thread, 1))   \
  FLAT(copy_2, tarn__kernel_run_args, tarn__copy_body(args, block, thread, 2))   \
  FLAT(copy_4, tarn__kernel_run_args, tarn__copy_body(args, block, thread, 4))   \
  FLAT(copy_8, tarn__kernel_run_args, tarn__copy_body(args, block, thread, 8))   \
  FLAT(copy_16, tarn__kernel_run_args, tarn__copy_body(args, block, thread, 16)) \
  FLAT(fill, tarn__kernel_run_args, tarn__fill_body(args, block, thread))        \
  TARN__TURN(TILED, 1)                                                           \
  TARN__TURN(TILED, 2)                                                           \
  TARN__TURN(TILED, 4)                                                           \
  TARN__TURN(TILED, 8)                                                           \
  TARN__TURN(TILED, 16)                                                          \
  TARN__CONVERT(FLAT, int, TARN__WAY_INT, 8)                                     \
  TARN__CONVERT(FLAT, int, TARN__WAY_INT, 4)                                     \
  TARN__CONVERT(FLAT, int, TARN__WAY_INT, 2)                                     \
  TARN__CONVERT(FLAT, float, TARN__WAY_FLOAT, 8)                                 \
  TARN__CONVERT(FLAT, float, TARN__WAY_FLOAT, 4)                                 \
  TARN__CONVERT(FLAT, float, TARN__WAY_FLOAT, 2)                                 \
  TARN__CONVERT(FLAT, double, TARN__WAY_DOUBLE, 2)                               \
  TARN__CONVERT(FLAT, double, TARN__WAY_DOUBLE, 1)                               \
  TARN__TURN_CONVERT(TILED, int, TARN__WAY_INT, 4)                               \
  TARN__TURN_CONVERT(TILED, float, TARN__WAY_FLOAT, 4)                           \
  TARN__TURN_CONVERT(TILED, double, TARN__WAY_DOUBLE, 2)

typedef enum tarn__kernel {
#define TARN__KERNEL_FLAT(name, arguments, body) TARN__KERNEL_##name,
#define TARN__KERNEL_TILED(name, arguments, load, store) TARN__KERNEL_##name,
  TARN__KERNELS(TARN__KERNEL_FLAT, TARN__KERNEL_TILED)
#undef TARN__KERNEL_FLAT
#undef TARN__KERNEL_TILED
      TARN__KERNEL_COUNT
} tarn__kernel;

#endif
