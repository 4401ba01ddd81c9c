/* bench_virtual.c: `tarn bench alloc`: what it costs to put a GPU's memory behind addresses: made
 * anew, in pieces, and moved from elsewhere. */
#include "bench/bench.h"

static const size_t BYTES = (size_t)64 << 20;
static const size_t PIECE_BYTES = (size_t)32 << 20;

/* Two places of BYTES each, on a piece; memory lies in the first one of a pair. */
typedef struct virtual_run {
  tarn_provider *provider;
  void *range;
  char *places[2];
} virtual_run;

static tarn_status open_run(const bench_run *bench, size_t piece_bytes, virtual_run *run) {
  const tarn_cuda_virtual_options options = {.struct_size = sizeof options,
                                             .piece_bytes = piece_bytes};
  tarn_status status = tarn_cuda_virtual_provider_create(bench->where.cuda, bench->where.index,
                                                         &options, &run->provider);
  if (status != TARN_OK) return status;
  status = tarn_provider_reserve(run->provider, 2 * BYTES + PIECE_BYTES, &run->range);
  if (status != TARN_OK) return status;
  const size_t lead = (size_t)(-(uintptr_t)run->range & (PIECE_BYTES - 1));
  for (size_t i = 0; i < 2; i++) run->places[i] = (char *)run->range + lead + i * BYTES;
  return TARN_OK;
}

/* Whatever is committed goes with the range; nothing may be lost. */
static tarn_status close_run(const char *name, virtual_run *run) {
  tarn_status status = TARN_OK;
  if (run->range != NULL) {
    status = tarn_provider_free(run->provider, run->range, 2 * BYTES + PIECE_BYTES);
    tarn_cuda_virtual_stats stats = {.struct_size = sizeof stats};
    if (status == TARN_OK) status = tarn_cuda_virtual_stats_of(run->provider, &stats);
    if (status == TARN_OK && (stats.mapped_bytes != 0 || stats.lost_bytes != 0)) {
      status = bench_wrong(name, "memory was lost");
    }
  }
  tarn_provider_release(run->provider);
  return status;
}

static tarn_status run_growth(void *context, uint64_t iterations) {
  const virtual_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_status status = tarn_provider_commit(run->provider, run->places[0], BYTES);
    if (status == TARN_OK) status = tarn_provider_decommit(run->provider, run->places[0], BYTES);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status run_blocks(void *context, uint64_t iterations) {
  tarn_provider *provider = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *block = NULL;
    tarn_status status = tarn_provider_alloc(provider, BYTES, &block);
    if (status == TARN_OK) status = tarn_provider_free(provider, block, BYTES);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static void swap_places(virtual_run *run) {
  char *first = run->places[0];
  run->places[0] = run->places[1];
  run->places[1] = first;
}

static tarn_status run_moves(void *context, uint64_t iterations) {
  virtual_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    const tarn_provider_span idle = {run->places[0], BYTES};
    size_t taken_count = 0;
    const tarn_status status =
        tarn_provider_move(run->provider, &idle, 1, run->places[1], BYTES, &taken_count);
    if (status != TARN_OK) return status;
    swap_places(run);
  }
  return TARN_OK;
}

static tarn_status run_swaps(void *context, uint64_t iterations) {
  virtual_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_status status = tarn_provider_decommit(run->provider, run->places[0], BYTES);
    if (status == TARN_OK) status = tarn_provider_commit(run->provider, run->places[1], BYTES);
    if (status != TARN_OK) return status;
    swap_places(run);
  }
  return TARN_OK;
}

static tarn_status bench_growth(bench_run *bench) {
  const char *name = "virtual.grow.64MiB";
  if (!bench_wants(bench, name)) return TARN_OK;
  virtual_run granules = {.range = NULL}, pieces = {.range = NULL};
  tarn_provider *blocks = NULL;
  tarn_status status = open_run(bench, /*piece_bytes=*/0, &granules);
  if (status == TARN_OK) status = open_run(bench, PIECE_BYTES, &pieces);
  if (status == TARN_OK) {
    status = tarn_cuda_device_provider_create(bench->where.cuda, bench->where.index, &blocks);
  }
  const measure_subject subjects[] = {{"tarn", run_growth, &granules},
                                      {"in pieces of 32 MiB", run_growth, &pieces},
                                      {"cuMemAlloc", run_blocks, blocks}};
  const measure_options measured = {.samples = 0};
  if (status == TARN_OK) status = bench_measure(bench, name, "ns", subjects, 3, &measured);
  tarn_provider_release(blocks);
  const tarn_status closed[] = {close_run(name, &granules), close_run(name, &pieces)};
  return status != TARN_OK ? status : closed[0] != TARN_OK ? closed[0] : closed[1];
}

static tarn_status bench_move(bench_run *bench) {
  const char *name = "virtual.move.64MiB";
  if (!bench_wants(bench, name)) return TARN_OK;
  virtual_run moved = {.range = NULL}, swapped = {.range = NULL};
  tarn_status status = open_run(bench, /*piece_bytes=*/0, &moved);
  if (status == TARN_OK) status = open_run(bench, /*piece_bytes=*/0, &swapped);
  if (status == TARN_OK) status = tarn_provider_commit(moved.provider, moved.places[0], BYTES);
  if (status == TARN_OK) status = tarn_provider_commit(swapped.provider, swapped.places[0], BYTES);
  const measure_subject subjects[] = {{"tarn", run_moves, &moved},
                                      {"decommit and commit", run_swaps, &swapped}};
  const measure_options measured = {.samples = 0};
  if (status == TARN_OK) status = bench_measure(bench, name, "ns", subjects, 2, &measured);
  const tarn_status closed[] = {close_run(name, &moved), close_run(name, &swapped)};
  return status != TARN_OK ? status : closed[0] != TARN_OK ? closed[0] : closed[1];
}

tarn_status bench_virtual(bench_run *bench) {
  if (where_is_host(&bench->where)) return TARN_OK;
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    tarn_cuda_memory_choice choice = {.struct_size = sizeof choice};
    status = tarn_cuda_memory_choose(bench->where.cuda, bench->where.index, &choice);
    if (status != TARN_OK || choice.memory != TARN_CUDA_MEMORY_VIRTUAL) return status;
  }
  status = bench_growth(bench);
  return status == TARN_OK ? bench_move(bench) : status;
}
