/* bench_order.c: `tarn bench order`: driver calls that reuse across streams costs, counted.
 *
 * A program of one thread: a random stream allocates or frees, sizes are lognormal, what came last
 * mostly goes first. How many blocks a stream holds and how wide the sizes spread is chosen so that
 * the baseline's calls and refusals are those known of RMM's pool on such a load: 0.53, 0.63, 0.83
 * and 1.6 calls per operation with 8 and 16 streams, with room and without. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "bench/bench.h"
#include "bench/order_baseline.h"
#include "bench/statistics.h"

enum {
  STREAMS_MAX = 16,
  LIVE_MAX = 6, /* blocks that a stream holds at most, 3 in the mean */
  STEPS = 40000,
  SEEDS = 7,
  TOUCHED_BYTES = 256,
  POLICY_LAZY = 1, /* CUSIM_LAZY */
  RACES_COUNT = 1, /* CUSIM_RACES_COUNT */
};

static const double MEDIAN_BYTES = 96 << 10;
static const double SIGMA = 1.0; /* of the sizes' logarithms */
static const size_t SIZE_BYTES_MAX = (size_t)4 << 20;

/* One row of the table: so many streams over so much memory, and how likely a stream finishes an
 * operation between two steps of the program; 0: the GPU is stuck and moves when waited for. */
typedef struct order_case {
  int streams;
  size_t limit_bytes;
  double progress;
} order_case;

static const order_case order_cases[] = {
    {2, (size_t)32 << 20, 0.15}, {8, (size_t)32 << 20, 0},    {8, (size_t)32 << 20, 0.15},
    {16, (size_t)32 << 20, 0},   {8, (size_t)8 << 20, 0},     {8, (size_t)8 << 20, 0.15},
    {16, (size_t)8 << 20, 0},    {16, (size_t)8 << 20, 0.15},
};

/* The simulated driver's own controls, by name; cuda/sim/cusim.h documents them. */
typedef struct order_sim {
  void *library;
  uint64_t (*calls)(const char *name);
  uint64_t (*step)(void);
  void (*set_policy)(int policy);
  int (*get_policy)(void);
  void (*set_seed)(uint64_t seed);
  void (*set_idle_ms)(unsigned idle_ms);
  void (*set_races)(int races);
  uint64_t (*race_count)(void);
} order_sim;

/* What lends memory: tarn's pool, or the baseline in its place. */
typedef struct order_lender {
  tarn_pool *pool;
  order_baseline *baseline; /* NULL: the pool */
  char *memory;             /* the baseline's */
} order_lender;

typedef struct order_block {
  char *address;
  size_t size_bytes;
} order_block;

typedef struct order_run {
  const order_case *of;
  const order_sim *sim;
  tarn_device device;
  order_lender lender;
  tarn_stream *streams[STREAMS_MAX];
  order_block live[STREAMS_MAX][LIVE_MAX];
  int live_count[STREAMS_MAX];
  uint64_t random;
  uint64_t op_count;
  uint64_t alloc_count;
  uint64_t refused_count;
} order_run;

typedef struct order_figures {
  double calls_per_op[SEEDS];
  double refused_share[SEEDS];
} order_figures;

/* --- chance --- */

static double next_fraction(uint64_t *state) {
  return (double)(statistics_random(state) >> 11) * 0x1p-53;
}

/* Lognormal, by Box and Muller's transform. */
static size_t next_size(uint64_t *state) {
  const double pi = 3.14159265358979323846;
  const double radius = sqrt(-2 * log(1 - next_fraction(state)));
  const double normal = radius * cos(2 * pi * next_fraction(state));
  const double size_bytes = MEDIAN_BYTES * exp(SIGMA * normal);
  if (size_bytes < 1) return 1;
  return size_bytes > (double)SIZE_BYTES_MAX ? SIZE_BYTES_MAX : (size_t)size_bytes;
}

/* --- the simulated driver --- */

static bool find(void *library, const char *name, void *function) {
  void *address = dlsym(library, name);
  memcpy(function, &address, sizeof address); /* POSIX's way from object to function pointer */
  return address != NULL;
}

static tarn_status open_sim(const bench_run *bench, order_sim *sim) {
  memset(sim, 0, sizeof *sim);
  if (!bench->where.is_simulated || !where_is_device(&bench->where)) {
    return tarn_fail(TARN_UNAVAILABLE,
                     "order counts the calls of the simulated driver: say --on sim");
  }
  sim->library = dlopen(bench->where.driver_path, RTLD_NOW | RTLD_LOCAL);
  if (sim->library != NULL && find(sim->library, "cusim_calls", &sim->calls) &&
      find(sim->library, "cusim_step", &sim->step) &&
      find(sim->library, "cusim_set_policy", &sim->set_policy) &&
      find(sim->library, "cusim_get_policy", &sim->get_policy) &&
      find(sim->library, "cusim_set_seed", &sim->set_seed) &&
      find(sim->library, "cusim_set_races", &sim->set_races) &&
      find(sim->library, "cusim_race_count", &sim->race_count) &&
      find(sim->library, "cusim_set_idle_ms", &sim->set_idle_ms)) {
    return TARN_OK;
  }
  return tarn_fail(TARN_UNAVAILABLE, "%s lacks one of the simulator's controls",
                   bench->where.driver_path);
}

/* Records, waits, questions and synchronisations. */
static uint64_t ordering_calls(const order_sim *sim) {
  static const char *const names[] = {"cuEventRecord",      "cuStreamWaitEvent",   "cuEventQuery",
                                      "cuEventSynchronize", "cuStreamSynchronize", "cuStreamQuery",
                                      "cuCtxSynchronize"};
  uint64_t count = 0;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) count += sim->calls(names[i]);
  return count;
}

/* --- one run --- */

static tarn_status get_block(order_run *run, size_t size_bytes, int stream, char **address) {
  if (run->lender.baseline == NULL) {
    void *found = NULL;
    const tarn_status status =
        tarn_pool_alloc(run->lender.pool, size_bytes, run->streams[stream], &found);
    *address = found;
    return status;
  }
  size_t offset_bytes = 0;
  const tarn_status status =
      order_baseline_get(run->lender.baseline, size_bytes, stream, &offset_bytes);
  *address = run->lender.memory + offset_bytes;
  return status;
}

static tarn_status put_block(order_run *run, const order_block *block, int stream) {
  if (run->lender.baseline == NULL) {
    return tarn_pool_free(run->lender.pool, block->address, run->streams[stream]);
  }
  return order_baseline_put(run->lender.baseline, (size_t)(block->address - run->lender.memory),
                            block->size_bytes, stream);
}

/* Lends a block and lets the stream write to it, so that there is work to be behind. */
static tarn_status step_alloc(order_run *run, int stream) {
  order_block *block = &run->live[stream][run->live_count[stream]];
  block->size_bytes = next_size(&run->random);
  run->alloc_count++;
  const tarn_status status = get_block(run, block->size_bytes, stream, &block->address);
  if (status == TARN_OUT_OF_MEMORY) {
    run->refused_count++;
    return TARN_OK;
  }
  if (status != TARN_OK) return status;
  run->live_count[stream]++;
  const size_t touched_bytes =
      block->size_bytes < TOUCHED_BYTES ? block->size_bytes : TOUCHED_BYTES;
  return tarn_stream_fill(run->streams[stream], block->address, run->device, 1, touched_bytes);
}

/* The latest block of the stream's mostly, now and then any of its. */
static tarn_status step_free(order_run *run, int stream) {
  const int count = run->live_count[stream];
  const bool is_latest = statistics_random(&run->random) % 4 != 0;
  const int index =
      is_latest ? count - 1 : (int)(statistics_random(&run->random) % (uint64_t)count);
  const order_block block = run->live[stream][index];
  run->live[stream][index] = run->live[stream][count - 1];
  run->live_count[stream]--;
  return put_block(run, &block, stream);
}

static tarn_status run_steps(order_run *run) {
  for (int i = 0; i < STEPS; i++) {
    const int stream = (int)(statistics_random(&run->random) % (uint64_t)run->of->streams);
    const int count = run->live_count[stream];
    const bool allocs =
        count == 0 || (count < LIVE_MAX && statistics_random(&run->random) % 2 == 0);
    const tarn_status status = allocs ? step_alloc(run, stream) : step_free(run, stream);
    if (status != TARN_OK) return status;
    run->op_count++;
    for (int moved = 0; moved < run->of->streams; moved++) {
      if (next_fraction(&run->random) < run->of->progress) run->sim->step();
    }
  }
  return TARN_OK;
}

static tarn_status empty_run(order_run *run) {
  tarn_status status = TARN_OK;
  for (int stream = 0; stream < run->of->streams; stream++) {
    for (int i = 0; status == TARN_OK && i < run->live_count[stream]; i++) {
      status = put_block(run, &run->live[stream][i], stream);
    }
    if (status == TARN_OK) status = tarn_stream_synchronize(run->streams[stream]);
  }
  return status;
}

/* Memory of the same size for both, and all of it at once: nothing grows. */
static tarn_status open_lender(const bench_run *bench, order_run *run, bool is_baseline) {
  tarn_provider *provider = bench->where.provider;
  if (!is_baseline) {
    const tarn_caching_options options = {.struct_size = sizeof options,
                                          .limit_bytes = run->of->limit_bytes,
                                          .segment_bytes = run->of->limit_bytes};
    return tarn_caching_pool_create(provider, &options, &run->lender.pool);
  }
  void *memory = NULL;
  tarn_status status = tarn_provider_alloc(provider, run->of->limit_bytes, &memory);
  if (status != TARN_OK) return status;
  run->lender.memory = memory;
  return order_baseline_create(run->of->limit_bytes, run->streams, run->of->streams,
                               &run->lender.baseline);
}

static tarn_status close_lender(const bench_run *bench, order_run *run) {
  tarn_pool_release(run->lender.pool);
  order_baseline_destroy(run->lender.baseline);
  if (run->lender.memory == NULL) return TARN_OK;
  return tarn_provider_free(bench->where.provider, run->lender.memory, run->of->limit_bytes);
}

static tarn_status run_once(const bench_run *bench, const order_sim *sim, const order_case *of,
                            int seed, bool is_baseline, order_figures *figures) {
  order_run *run = calloc(1, sizeof *run);
  if (run == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a run");
  run->of = of;
  run->sim = sim;
  run->random = (uint64_t)seed + 1;
  run->device = tarn_provider_attributes_of(bench->where.provider)->device;
  tarn_status status = TARN_OK;
  for (int i = 0; status == TARN_OK && i < of->streams; i++) {
    status = where_stream_create(&bench->where, &run->streams[i]);
  }
  if (status == TARN_OK) status = open_lender(bench, run, is_baseline);
  sim->set_seed((uint64_t)seed + 1);
  const uint64_t before = ordering_calls(sim);
  if (status == TARN_OK) status = run_steps(run);
  const uint64_t after = ordering_calls(sim);
  if (status == TARN_OK) {
    figures->calls_per_op[seed] = (double)(after - before) / (double)run->op_count;
    figures->refused_share[seed] = (double)run->refused_count / (double)run->alloc_count;
    status = empty_run(run);
  }
  if (status == TARN_OK && sim->race_count() != 0) {
    status = bench_wrong("order", "two streams used a block at the same time");
  }
  const tarn_status closed = close_lender(bench, run);
  if (status == TARN_OK) status = closed;
  for (int i = 0; i < of->streams; i++) tarn_stream_release(run->streams[i]);
  free(run);
  return status;
}

/* --- the table --- */

static tarn_status add_row(bench_run *bench, const char *name, const char *unit, double *tarn,
                           double *baseline) {
  report_row row = {.unit = unit, .baseline_count = 1};
  measure_stats rival;
  snprintf(row.name, sizeof row.name, "%s", name);
  measure_summarize(tarn, SEEDS, &row.stats);
  measure_summarize(baseline, SEEDS, &rival);
  row.baselines[0] = (report_baseline){"event per free", rival.median};
  return report_add(bench->report, &row);
}

static tarn_status run_case(bench_run *bench, const order_sim *sim, const order_case *of) {
  char calls[96];
  char refused[96];
  char place[64];
  snprintf(place, sizeof place, "%dstreams.%s.%g", of->streams,
           bench_size_name(of->limit_bytes).text, of->progress);
  snprintf(calls, sizeof calls, "order.calls_per_op.%s", place);
  snprintf(refused, sizeof refused, "order.refused_share.%s", place);
  if (!bench_wants(bench, calls)) return TARN_OK;
  order_figures ours;
  order_figures theirs;
  for (int seed = 0; seed < SEEDS; seed++) {
    tarn_status status = run_once(bench, sim, of, seed, /*is_baseline=*/false, &ours);
    if (status == TARN_OK) status = run_once(bench, sim, of, seed, /*is_baseline=*/true, &theirs);
    if (status != TARN_OK) return status;
  }
  const tarn_status status = add_row(bench, calls, "calls", ours.calls_per_op, theirs.calls_per_op);
  if (status != TARN_OK) return status;
  return add_row(bench, refused, "share", ours.refused_share, theirs.refused_share);
}

tarn_status bench_order(bench_run *bench) {
  order_sim sim = {.library = NULL};
  tarn_status status = bench->options->list ? TARN_OK : open_sim(bench, &sim);
  int policy = 0;
  if (status == TARN_OK && sim.library != NULL) {
    policy = sim.get_policy();
    sim.set_policy(POLICY_LAZY);
    sim.set_idle_ms(0);
    sim.set_races(RACES_COUNT);
  }
  for (size_t i = 0; status == TARN_OK && i < sizeof order_cases / sizeof order_cases[0]; i++) {
    status = run_case(bench, &sim, &order_cases[i]);
  }
  if (sim.library != NULL && sim.set_policy != NULL && sim.get_policy != NULL) {
    sim.set_policy(policy);
  }
  if (sim.library != NULL) dlclose(sim.library);
  return status;
}
