/* bench_pin.c: `tarn bench alloc`: what page-locked memory costs beyond what was asked for, and how
 * fast it is locked.
 *
 * The waste is counted: the pool runs over addresses without memory, so sizes of any machine will
 * do, and nothing is locked. The baseline is counted as well: PyTorch's caching host allocator
 * rounds to a power of two, keeps a list of free blocks for each, splits none and gives none back
 * (aten/src/ATen/core/CachingHostAllocator.h). */
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_pages.h"
#include "bench/bench.h"
#include "bench/statistics.h"

enum {
  WALK_STEPS = 1 << 14,
  WALK_STEPS_AHEAD = 1 << 13, /* not counted: all slots have been filled a few times */
  WALK_LOOKS = 16,            /* steps between two looks at the statistics */
  CLASSES = 64,
};

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* --- memory that is only counted --- */

static tarn_status counted_attributes(void *context, tarn_provider_attributes *attributes) {
  *attributes = *tarn_provider_attributes_of(context);
  /* Of no CPU: memory checkers would mark gigabytes that nothing lies in. */
  attributes->device = tarn_device_make(TARN_DEVICE_CUDA, 0);
  return TARN_OK;
}

static tarn_status counted_attributes_of_blocks(void *context,
                                                tarn_provider_attributes *attributes) {
  const tarn_status status = counted_attributes(context, attributes);
  attributes->flags &= ~(uint32_t)TARN_PROVIDER_RESERVES;
  return status;
}

static tarn_status counted_take(void *context, size_t size_bytes, void **address) {
  return tarn_provider_reserve(context, size_bytes, address);
}

static tarn_status counted_give(void *context, void *address, size_t size_bytes) {
  return tarn_provider_free(context, address, size_bytes);
}

static tarn_status counted_nothing(void *context, void *address, size_t size_bytes) {
  (void)context, (void)address, (void)size_bytes;
  return TARN_OK;
}

static void counted_destroy(void *context) {
  tarn_provider_release(context);
}

/* Addresses of the system's, as a provider of page-locked memory gives them out: whole blocks, or
 * a range by granules. */
static tarn_status create_counted(bool by_granule, tarn_provider **provider) {
  tarn_provider *pages = NULL;
  tarn_status status = tarn_pages_provider_create(NULL, &pages);
  if (status != TARN_OK) return status;
  const tarn_provider_ops ops = {
      .struct_size = sizeof ops,
      .name = "counted",
      .attributes = by_granule ? counted_attributes : counted_attributes_of_blocks,
      .alloc = counted_take,
      .release = counted_give,
      .reserve = by_granule ? counted_take : NULL,
      .commit = by_granule ? counted_nothing : NULL,
      .decommit = by_granule ? counted_nothing : NULL,
      .destroy = counted_destroy};
  status = tarn_provider_create(&ops, pages, provider);
  if (status != TARN_OK) tarn_provider_release(pages);
  return status;
}

static tarn_status create_counted_pool(bool by_granule, tarn_pool **pool) {
  tarn_provider *provider = NULL;
  tarn_status status = create_counted(by_granule, &provider);
  const tarn_caching_options options = {.struct_size = sizeof options, .range_bytes = 1024 * GIB};
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, &options, pool);
  tarn_provider_release(provider);
  return status;
}

/* --- powers of two --- */

typedef struct classes {
  size_t live[CLASSES];
  size_t made[CLASSES]; /* live and free: what is never given back */
} classes;

static unsigned class_of(size_t size_bytes) {
  return size_bytes <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(size_bytes - 1);
}

static void classes_take(classes *self, size_t size_bytes) {
  const unsigned class = class_of(size_bytes);
  if (++self->live[class] > self->made[class]) self->made[class] = self->live[class];
}

static void classes_give(classes *self, size_t size_bytes) {
  self->live[class_of(size_bytes)]--;
}

static double classes_bytes(const size_t counts[CLASSES]) {
  double sum = 0;
  for (unsigned class = 0; class < CLASSES; class ++) {
    sum += (double)counts[class] * (double)((uint64_t)1 << class);
  }
  return sum;
}

/* --- a walk of allocations and frees --- */

typedef struct walk {
  const char *name;
  size_t least_bytes; /* sizes are log-uniform from here ... */
  unsigned doublings; /* ... over so many of these */
  size_t slot_count;
} walk;

static const walk walks[] = {
    {"over_1MiB", MIB + 1, 10, 128},
    {"below_1MiB", 256, 12, 4096},
};

/* What is lent out, summed over the looks, and what was asked for; the most that was held. */
typedef struct tally {
  double requested;
  double allocated;
  double requested_peak;
  double reserved_peak;
} tally;

static size_t next_size(const walk *self, uint64_t *state) {
  const size_t base_bytes = self->least_bytes << statistics_random(state) % self->doublings;
  return base_bytes + statistics_random(state) % base_bytes;
}

typedef struct slot {
  void *address;
  size_t size_bytes;
} slot;

static tarn_status look(tarn_pool *pool, const classes *powers, tally *tarns, tally *powers_tally) {
  tarn_pool_stats stats = {.struct_size = sizeof stats};
  const tarn_status status = tarn_pool_stats_of(pool, &stats);
  tarns->requested += (double)stats.requested_bytes;
  tarns->allocated += (double)stats.allocated_bytes;
  tarns->requested_peak = (double)stats.requested_bytes_peak;
  tarns->reserved_peak = (double)stats.reserved_bytes_peak;
  powers_tally->allocated += classes_bytes(powers->live);
  powers_tally->reserved_peak = classes_bytes(powers->made);
  return status;
}

static tarn_status walk_pool(const walk *self, tarn_pool *pool, tally *tarns, tally *powers_tally) {
  slot *slots = calloc(self->slot_count, sizeof *slots);
  if (slots == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the walk");
  classes powers = {{0}};
  uint64_t state = 1;
  tarn_status status = TARN_OK;
  for (int step = 0; status == TARN_OK && step < WALK_STEPS_AHEAD + WALK_STEPS; step++) {
    slot *at = &slots[statistics_random(&state) % self->slot_count];
    if (at->address != NULL) classes_give(&powers, at->size_bytes);
    status = tarn_pool_free(pool, at->address, NULL);
    at->size_bytes = next_size(self, &state);
    if (status == TARN_OK) status = tarn_pool_alloc(pool, at->size_bytes, NULL, &at->address);
    classes_take(&powers, at->size_bytes);
    if (status == TARN_OK && step >= WALK_STEPS_AHEAD && step % WALK_LOOKS == 0) {
      status = look(pool, &powers, tarns, powers_tally);
    }
  }
  for (size_t i = 0; i < self->slot_count; i++) {
    const tarn_status freed = tarn_pool_free(pool, slots[i].address, NULL);
    if (status == TARN_OK) status = freed;
  }
  free(slots);
  return status;
}

/* tarn's value, with blocks that are locked whole; PyTorch's rule; tarn's with granules. */
static tarn_status add_ratio(bench_run *bench, const char *name, double whole, double powers,
                             double granules) {
  report_row row = {.unit = "B/B",
                    .stats = {whole, whole, whole, 1},
                    .baselines = {{"powers of two", powers}, {"by granules", granules}},
                    .baseline_count = 2};
  snprintf(row.name, sizeof row.name, "%s", name);
  return report_add(bench->report, &row);
}

static tarn_status bench_walk(bench_run *bench, const walk *self) {
  char lent[32];
  char held[32];
  snprintf(lent, sizeof lent, "pin.waste.%s", self->name);
  snprintf(held, sizeof held, "pin.held.%s", self->name);
  const bool wants_lent = bench_wants(bench, lent);
  const bool wants_held = bench_wants(bench, held);
  if (!wants_lent && !wants_held) return TARN_OK;
  tally tarns[2] = {{0}};
  tally powers[2] = {{0}};
  tarn_status status = TARN_OK;
  for (int by_granule = 0; status == TARN_OK && by_granule < 2; by_granule++) {
    tarn_pool *pool = NULL;
    status = create_counted_pool(by_granule != 0, &pool);
    if (status == TARN_OK) status = walk_pool(self, pool, &tarns[by_granule], &powers[by_granule]);
    tarn_pool_release(pool);
  }
  const double asked = tarns[0].requested;
  const double peak = tarns[0].requested_peak;
  if (status == TARN_OK && wants_lent) {
    status = add_ratio(bench, lent, tarns[0].allocated / asked, powers[0].allocated / asked,
                       tarns[1].allocated / asked);
  }
  if (status == TARN_OK && wants_held) {
    status = add_ratio(bench, held, tarns[0].reserved_peak / peak, powers[0].reserved_peak / peak,
                       tarns[1].reserved_peak / peak);
  }
  return status;
}

/* One request of the kind that people were surprised by: 65 GiB for 33, 128 for 65. */
static tarn_status bench_large(bench_run *bench) {
  const char *name = "pin.waste.65GiB";
  const size_t asked_bytes = 65 * GIB + 1;
  if (!bench_wants(bench, name)) return TARN_OK;
  double ratios[2] = {0};
  tarn_status status = TARN_OK;
  for (int by_granule = 0; status == TARN_OK && by_granule < 2; by_granule++) {
    tarn_pool *pool = NULL;
    void *block = NULL;
    tarn_pool_stats stats = {.struct_size = sizeof stats};
    status = create_counted_pool(by_granule != 0, &pool);
    if (status == TARN_OK) status = tarn_pool_alloc(pool, asked_bytes, NULL, &block);
    if (status == TARN_OK) status = tarn_pool_stats_of(pool, &stats);
    if (status == TARN_OK) status = tarn_pool_free(pool, block, NULL);
    ratios[by_granule] = (double)stats.reserved_bytes / (double)asked_bytes;
    tarn_pool_release(pool);
  }
  if (status != TARN_OK) return status;
  const double power = (double)((uint64_t)1 << class_of(asked_bytes)) / (double)asked_bytes;
  return add_ratio(bench, name, ratios[0], power, ratios[1]);
}

/* --- how fast memory is locked --- */

typedef struct lock_run {
  tarn_provider *provider;
  size_t size_bytes;
} lock_run;

typedef struct rate_case {
  size_t size_bytes, chunk_bytes;
  uint32_t flags; /* TARN_PAGES_* */
  int samples;    /* 0: as many as usual */
} rate_case;

/* Obtained, locked, and given back. */
static tarn_status run_lock(void *context, uint64_t iterations) {
  const lock_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *block = NULL;
    tarn_status status = tarn_provider_alloc(run->provider, run->size_bytes, &block);
    if (status == TARN_OK) status = tarn_provider_free(run->provider, block, run->size_bytes);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status bench_rate(bench_run *bench, const char *name, const rate_case *what) {
  enum { SUBJECTS = 2 };
  if (where_is_host(&bench->where) || !bench_wants(bench, name)) return TARN_OK;
  tarn_provider *pages = NULL;
  lock_run runs[SUBJECTS] = {{.size_bytes = what->size_bytes}, {.size_bytes = what->size_bytes}};
  const tarn_pages_options touched = {
      .struct_size = sizeof touched, .granularity_bytes = 2 * MIB, .flags = what->flags};
  tarn_status status = tarn_pages_provider_create(&touched, &pages);
  const tarn_cuda_pinned_options options = {
      .struct_size = sizeof options, .host = pages, .chunk_bytes = what->chunk_bytes};
  if (status == TARN_OK) {
    status = tarn_cuda_pinned_provider_create(bench->where.cuda, &options, &runs[0].provider);
  }
  if (status == TARN_OK) {
    status = tarn_cuda_pinned_provider_create(bench->where.cuda, NULL, &runs[1].provider);
  }
  const measure_subject subjects[SUBJECTS] = {{"tarn", run_lock, &runs[0]},
                                              {"cuMemHostAlloc", run_lock, &runs[1]}};
  const measure_options measured = {.bytes = what->size_bytes, .samples = what->samples};
  if (status == TARN_OK) {
    status = bench_measure(bench, name, "GB/s", subjects, SUBJECTS, &measured);
  }
  for (int i = 0; i < SUBJECTS; i++) tarn_provider_release(runs[i].provider);
  tarn_provider_release(pages);
  return status;
}

tarn_status bench_pin(bench_run *bench) {
  tarn_status status = bench_large(bench);
  for (size_t i = 0; status == TARN_OK && i < sizeof walks / sizeof walks[0]; i++) {
    status = bench_walk(bench, &walks[i]);
  }
  rate_case what = {.size_bytes = 64 * MIB};
  if (status == TARN_OK) status = bench_rate(bench, "pin.rate.whole", &what);
  what.chunk_bytes = 2 * MIB;
  if (status == TARN_OK) status = bench_rate(bench, "pin.rate.2MiB", &what);
  /* As one starts a ring of buffers: its pages made by several threads, then locked. A sample takes
   * seconds. */
  const bool is_large = !bench->where.is_simulated;
  what = (rate_case){is_large ? 8 * GIB : 64 * MIB, 0, TARN_PAGES_POPULATE, is_large ? 3 : 0};
  char name[40];
  snprintf(name, sizeof name, "pin.rate.%s", bench_size_name(what.size_bytes).text);
  return status == TARN_OK ? bench_rate(bench, name, &what) : status;
}
