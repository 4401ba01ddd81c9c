/* sim_launch.h: kernels as the simulator runs them, and what one launch of them is.
 *
 *     module -> function -> code: its body, compiled for the host, and what it says it touches
 *     launch: code, grid, arguments, and the regions of memory that follow from these
 *
 * Each load and store of a body is held against the launch's regions, byte by byte, so that what
 * the race detector was told when the launch was enqueued is what the launch does. */
#ifndef SIM_LAUNCH_H
#define SIM_LAUNCH_H

#include "cuda/sim/sim.h"

enum { SIM_REGION_RANK_MAX = 12, SIM_REGIONS_MAX = 2 };

/* Runs of bytes: for every index below the sizes one run, `strides` apart. */
typedef struct sim_region {
  sim_place place; /* all from the first to the last byte */
  uintptr_t start; /* of the run at index 0 */
  size_t run_bytes;
  int rank;
  uint64_t sizes[SIM_REGION_RANK_MAX];
  int64_t strides[SIM_REGION_RANK_MAX];
  bool is_written;
  bool is_wild; /* no memory of the device's was there when the launch was enqueued */
} sim_region;

/* A kernel that the simulator has. */
typedef struct sim_code {
  const char *name;
  size_t argument_bytes; /* one argument, a struct */
  int phase_count;       /* a barrier of the block between one and the next */
  unsigned threads_max;  /* of a block */
  size_t shared_bytes;
  void (*run)(const void *arguments, uint32_t block, uint32_t thread, int phase);
  /* Fills in what the launch touches; answers how many regions. */
  size_t (*touch)(const void *arguments, sim_region regions[SIM_REGIONS_MAX]);
} sim_code;

/* --- sim_bodies.c --- */
const sim_code *sim_code_find(const char *name); /* NULL: no such kernel */

/* Never changed once it is made: operations, nodes of graphs and their executables share it. */
struct sim_launch {
  size_t reference_count;
  const sim_code *code;
  uint64_t module; /* its number */
  uint32_t blocks;
  uint32_t threads;
  void *arguments; /* owned */
  size_t region_count;
  sim_region regions[SIM_REGIONS_MAX];
};

/* --- sim_module.c --- */
bool sim_module_is_loaded(uint64_t number);

/* --- sim_launch.c --- */
/* NULL: no memory. Looks its memory up for the current context's device. */
sim_launch *sim_launch_create(const sim_code *code, uint32_t blocks, uint32_t threads,
                              const void *arguments);
/* Calls `each` for every run of the region, from low addresses to high ones where the strides
 * ascend. */
typedef void (*sim_run_function)(void *context, uintptr_t start, uintptr_t end);
void sim_region_walk(const sim_region *region, sim_run_function each, void *context);
size_t sim_region_bytes(const sim_region *region);

/* What the bodies' loads and stores come to: where the bytes are, or, where the launch has no right
 * to them, the launch is broken and the answer is memory that is nobody's. */
void *sim_launch_reach(uint64_t address, size_t size_bytes, bool is_written);
void *sim_launch_share(uint32_t offset, size_t size_bytes, bool is_written);

#endif
