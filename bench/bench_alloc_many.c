/* bench_alloc_many.c: `tarn bench alloc` with several threads, and with many free blocks. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "alloc/tarn_caching_pool.h"
#include "bench/bench.h"
#include "bench/churn.h"

enum {
  SCAN_BATCH = 64,
  SCAN_BYTES = 4096,
  CHURN_SLOTS = 1024,
};

/* --- a second thread that does the same --- */

/* The body runs in this thread and in another one at the same time, each with its context. */
typedef struct pair_of_threads {
  measure_body body;
  void *mine;
  void *others;
  pthread_t thread;
  pthread_barrier_t turn;
  uint64_t iterations; /* 0: the thread ends */
  tarn_status status;
} pair_of_threads;

static void *run_other(void *argument) {
  pair_of_threads *both = argument;
  for (;;) {
    pthread_barrier_wait(&both->turn);
    if (both->iterations == 0) return argument;
    both->status = both->body(both->others, both->iterations);
    pthread_barrier_wait(&both->turn);
  }
}

static tarn_status run_both(void *context, uint64_t iterations) {
  pair_of_threads *both = context;
  both->iterations = iterations;
  pthread_barrier_wait(&both->turn);
  const tarn_status status = both->body(both->mine, iterations);
  pthread_barrier_wait(&both->turn);
  return status != TARN_OK ? status : both->status;
}

/* Per thread: the time in which each of two threads does so many on one pool, beside one thread
 * alone on a pool of its own. */
static tarn_status measure_two_threads(bench_run *bench, const char *name, measure_body body,
                                       void *mine, void *others, void *alone) {
  pair_of_threads both = {.body = body, .mine = mine, .others = others};
  if (pthread_barrier_init(&both.turn, NULL, 2) != 0 ||
      pthread_create(&both.thread, NULL, run_other, &both) != 0) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no second thread");
  }
  const measure_subject subjects[] = {{"tarn", run_both, &both}, {"one thread", body, alone}};
  const measure_options options = {.sample_ns_min = 10 * 1000 * 1000};
  const tarn_status status = bench_measure(bench, name, "ns", subjects, 2, &options);
  both.iterations = 0;
  pthread_barrier_wait(&both.turn);
  pthread_join(both.thread, NULL);
  pthread_barrier_destroy(&both.turn);
  return status;
}

/* --- pairs and churn --- */

typedef struct pairs {
  tarn_pool *pool;
  tarn_stream *stream;
  size_t size_bytes;
} pairs;

static tarn_status run_pairs(void *context, uint64_t iterations) {
  const pairs run = *(const pairs *)context;
  for (uint64_t i = 0; i < iterations; i++) {
    void *address = NULL;
    tarn_status status = tarn_pool_alloc(run.pool, run.size_bytes, run.stream, &address);
    if (status != TARN_OK) return status;
    measure_keep(address);
    status = tarn_pool_free(run.pool, address, run.stream);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status bench_two_threads_pairs(bench_run *bench, tarn_pool *pools[2],
                                           tarn_stream *streams[2]) {
  static const size_t sizes[] = {64, 1 << 10, 64 << 10, 1 << 20, 16 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "alloc.2threads.pair.%s", bench_size_name(sizes[i]).text);
    if (!bench_wants(bench, name)) continue;
    pairs mine = {pools[0], streams[0], sizes[i]};
    pairs others = {pools[0], streams[1], sizes[i]};
    pairs alone = {pools[1], streams[0], sizes[i]};
    /* Growing is no part of it. */
    tarn_status status = run_pairs(&mine, 1);
    if (status == TARN_OK) {
      status = measure_two_threads(bench, name, run_pairs, &mine, &others, &alone);
    }
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

typedef struct churn {
  tarn_pool *pool;
  tarn_stream *stream;
  const churn_step *steps;
  size_t at;
  void *slots[CHURN_SLOTS];
} churn;

static tarn_status run_churn(void *context, uint64_t iterations) {
  churn *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    const churn_step step = run->steps[run->at];
    run->at = (run->at + 1) % CHURN_STEPS;
    void **slot = &run->slots[step.slot];
    tarn_status status = tarn_pool_free(run->pool, *slot, run->stream);
    *slot = NULL;
    if (status == TARN_OK) {
      status = tarn_pool_alloc(run->pool, step.size_bytes, run->stream, slot);
    }
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status free_slots(churn *run) {
  tarn_status status = TARN_OK;
  for (int slot = 0; slot < CHURN_SLOTS; slot++) {
    const tarn_status freed = tarn_pool_free(run->pool, run->slots[slot], run->stream);
    if (freed != TARN_OK) status = freed;
  }
  return status;
}

static tarn_status bench_two_threads_churn(bench_run *bench, tarn_pool *pools[2],
                                           tarn_stream *streams[2]) {
  enum { MINE, OTHERS, ALONE, RUNS };
  const char *name = "alloc.2threads.churn";
  if (!bench_wants(bench, name)) return TARN_OK;
  churn_step *steps = churn_steps_make(CHURN_SLOTS);
  churn *runs = calloc(RUNS, sizeof *runs);
  tarn_status status = TARN_OK;
  if (steps == NULL || runs == NULL) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the churn");
  }
  for (int i = 0; status == TARN_OK && i < RUNS; i++) {
    runs[i].pool = pools[i == ALONE];
    runs[i].stream = streams[i == OTHERS];
    runs[i].steps = steps;
    runs[i].at = i == OTHERS ? CHURN_STEPS / 2 : 0;
  }
  /* Until the pools have the size they need: what two threads keep takes longer to settle. */
  for (int i = 0; status == TARN_OK && i < RUNS * 4 * CHURN_ROUNDS_AHEAD; i++) {
    status = run_churn(&runs[i % RUNS], CHURN_STEPS);
  }
  if (status == TARN_OK) {
    status = measure_two_threads(bench, name, run_churn, &runs[MINE], &runs[OTHERS], &runs[ALONE]);
  }
  for (int i = 0; runs != NULL && i < RUNS; i++) {
    if (runs[i].pool == NULL) continue;
    const tarn_status freed = free_slots(&runs[i]);
    if (status == TARN_OK) status = freed;
  }
  free(runs);
  free(steps);
  return status;
}

/* --- many free blocks --- */

typedef struct scan {
  tarn_pool *pool;
  tarn_stream *stream;
  size_t count;
  size_t alignment_bytes; /* asked for */
  void **walls;           /* live, one behind every free block, so that none are joined */
  void **spaces;          /* the free ones, while they are being made */
} scan;

/* So many free blocks of other sizes: 256 B to 3.75 KiB, all smaller than what is asked for, and 8
 * to 16 KiB, all larger. */
static tarn_status scan_init(scan *run, tarn_pool *pool, tarn_stream *stream, size_t count,
                             size_t alignment_bytes) {
  *run = (scan){.pool = pool, .stream = stream, .count = count, .alignment_bytes = alignment_bytes};
  run->walls = calloc(count, sizeof *run->walls);
  run->spaces = calloc(count, sizeof *run->spaces);
  if (run->walls == NULL || run->spaces == NULL) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %zu blocks", count);
  }
  for (size_t i = 0; i < count; i++) {
    const size_t step = i / 2 % 15;
    const size_t size_bytes = i % 2 == 0 ? 256 + 256 * step : (8 << 10) + 512 * step;
    tarn_status status = tarn_pool_alloc(pool, size_bytes, stream, &run->spaces[i]);
    if (status == TARN_OK) status = tarn_pool_alloc(pool, 256, stream, &run->walls[i]);
    if (status != TARN_OK) return status;
  }
  for (size_t i = 0; i < count; i++) {
    const tarn_status status = tarn_pool_free(pool, run->spaces[i], stream);
    if (status != TARN_OK) return status;
    run->spaces[i] = NULL;
  }
  /* What this thread keeps goes to the heap. */
  return tarn_pool_trim(pool, SIZE_MAX, NULL);
}

static tarn_status scan_deinit(scan *run) {
  tarn_status status = TARN_OK;
  for (size_t i = 0; i < run->count && run->walls != NULL && run->spaces != NULL; i++) {
    tarn_status freed = tarn_pool_free(run->pool, run->walls[i], run->stream);
    if (freed != TARN_OK) status = freed;
    freed = tarn_pool_free(run->pool, run->spaces[i], run->stream);
    if (freed != TARN_OK) status = freed;
  }
  free(run->walls);
  free(run->spaces);
  return status;
}

static tarn_status run_scan(void *context, uint64_t iterations) {
  const scan *run = context;
  void *blocks[SCAN_BATCH];
  for (uint64_t done = 0; done < iterations; done += SCAN_BATCH) {
    for (int i = 0; i < SCAN_BATCH; i++) {
      const tarn_status status = tarn_pool_alloc_aligned(
          run->pool, SCAN_BYTES, run->alignment_bytes, run->stream, &blocks[i]);
      if (status != TARN_OK) return status;
    }
    for (int i = 0; i < SCAN_BATCH; i++) {
      const tarn_status status = tarn_pool_free(run->pool, blocks[i], run->stream);
      if (status != TARN_OK) return status;
    }
  }
  return TARN_OK;
}

static tarn_status bench_scans(bench_run *bench, tarn_provider *provider, tarn_stream *stream) {
  static const struct {
    const char *name;
    size_t count;
    size_t alignment_bytes; /* beyond the pool's own, every search goes to the heap */
  } cases[] = {{"alloc.scan.16", 16, 0},          {"alloc.scan.1k", 1 << 10, 0},
               {"alloc.scan.16k", 16 << 10, 0},   {"alloc.search.16", 16, 512},
               {"alloc.search.1k", 1 << 10, 512}, {"alloc.search.16k", 16 << 10, 512}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (!bench_wants(bench, cases[i].name)) continue;
    tarn_pool *pools[2] = {NULL};
    scan runs[2] = {{0}};
    tarn_status status = TARN_OK;
    for (int j = 0; status == TARN_OK && j < 2; j++) {
      status = tarn_caching_pool_create(provider, NULL, &pools[j]);
      const size_t count = j == 0 ? cases[i].count : cases[0].count;
      if (status == TARN_OK)
        status = scan_init(&runs[j], pools[j], stream, count, cases[i].alignment_bytes);
    }
    const measure_subject subjects[] = {{"tarn", run_scan, &runs[0]},
                                        {"16 free blocks", run_scan, &runs[1]}};
    const measure_options options = {.samples = 0};
    if (status == TARN_OK) {
      status = bench_measure(bench, cases[i].name, "ns", subjects, 2, &options);
    }
    for (int j = 0; j < 2; j++) {
      if (pools[j] == NULL) continue;
      const tarn_status ended = scan_deinit(&runs[j]);
      if (status == TARN_OK) status = ended;
      tarn_pool_release(pools[j]);
    }
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status bench_alloc_many(bench_run *bench) {
  tarn_pool *pools[2] = {NULL, NULL};
  tarn_stream *streams[2] = {NULL, NULL};
  tarn_status status = TARN_OK;
  for (int i = 0; !bench->options->list && i < 2; i++) {
    if (status == TARN_OK) {
      status = tarn_caching_pool_create(bench->where.provider, NULL, &pools[i]);
    }
    if (status == TARN_OK && bench->where.cuda != NULL) {
      status = where_stream_create(&bench->where, &streams[i]);
    }
  }
  if (status == TARN_OK) status = bench_two_threads_pairs(bench, pools, streams);
  if (status == TARN_OK) status = bench_two_threads_churn(bench, pools, streams);
  if (status == TARN_OK) status = bench_scans(bench, bench->where.provider, streams[0]);
  for (int i = 0; i < 2; i++) tarn_stream_release(streams[i]);
  for (int i = 0; i < 2; i++) tarn_pool_release(pools[i]);
  return status;
}
