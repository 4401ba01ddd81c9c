/* bench_alloc.c: `tarn bench alloc`: a caching pool against malloc and jemalloc. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_storage.h"
#include "bench/bench.h"
#include "bench/churn.h"
#include "bench/jemalloc_baseline.h"

enum {
  CHURN_SLOTS = 1024,
  CHURN_CHECKED_STEPS = 1 << 15,
};

/* One way to get memory and give it back. */
typedef struct bench_allocator {
  const char *name;
  void *(*get)(void *context, size_t size_bytes);
  void (*put)(void *context, void *address);
  void *context;
  measure_body run_pairs;
} bench_allocator;

typedef struct pool_use {
  tarn_pool *pool;
  tarn_stream *stream;
} pool_use;

typedef struct pair_run {
  bench_allocator allocator;
  size_t size_bytes;
} pair_run;

typedef struct churn_run {
  bench_allocator allocator;
  const churn_step *steps;
  size_t at;
  void *slots[CHURN_SLOTS];
} churn_run;

typedef struct storage_run {
  pool_use use;
  size_t size_bytes;
} storage_run;

/* --- the allocators --- */

static void *pool_get(void *context, size_t size_bytes) {
  const pool_use *use = context;
  void *address = NULL;
  if (tarn_pool_alloc(use->pool, size_bytes, use->stream, &address) != TARN_OK) return NULL;
  return address;
}

static void pool_put(void *context, void *address) {
  const pool_use *use = context;
  /* A refusal would leave the block lent out, which is looked for after each case. */
  (void)!tarn_pool_free(use->pool, address, use->stream);
}

static void *malloc_get(void *context, size_t size_bytes) {
  (void)context;
  return malloc(size_bytes);
}

static void malloc_put(void *context, void *address) {
  (void)context;
  free(address);
}

static void *jemalloc_get(void *context, size_t size_bytes) {
  (void)context;
  return jemalloc_baseline_malloc(size_bytes);
}

static void jemalloc_put(void *context, void *address) {
  (void)context;
  jemalloc_baseline_free(address);
}

static tarn_status fail_get(const bench_allocator *allocator, size_t size_bytes) {
  return tarn_fail(TARN_OUT_OF_MEMORY, "%s gives no %zu bytes", allocator->name, size_bytes);
}

/* --- bodies --- */

/* One body for each allocator, so that what is called is known when this is compiled. */
#define DEFINE_PAIRS(function, get, put)                                 \
  static tarn_status function(void *context, uint64_t iterations) {      \
    const pair_run *run = context;                                       \
    const bench_allocator allocator = run->allocator;                    \
    for (uint64_t i = 0; i < iterations; i++) {                          \
      void *address = get(allocator.context, run->size_bytes);           \
      if (address == NULL) return fail_get(&allocator, run->size_bytes); \
      measure_keep(address);                                             \
      put(allocator.context, address);                                   \
    }                                                                    \
    return TARN_OK;                                                      \
  }
DEFINE_PAIRS(run_pool_pairs, pool_get, pool_put)
DEFINE_PAIRS(run_malloc_pairs, malloc_get, malloc_put)
DEFINE_PAIRS(run_jemalloc_pairs, jemalloc_get, jemalloc_put)

/* One operation is one free and one allocation; the slots fill up during the warm-up. */
static tarn_status run_churn(void *context, uint64_t iterations) {
  churn_run *run = context;
  const bench_allocator allocator = run->allocator;
  for (uint64_t i = 0; i < iterations; i++) {
    const churn_step step = run->steps[run->at];
    run->at = (run->at + 1) % CHURN_STEPS;
    if (run->slots[step.slot] != NULL) allocator.put(allocator.context, run->slots[step.slot]);
    run->slots[step.slot] = allocator.get(allocator.context, step.size_bytes);
    if (run->slots[step.slot] == NULL) return fail_get(&allocator, step.size_bytes);
  }
  return TARN_OK;
}

static tarn_status run_storages(void *context, uint64_t iterations) {
  const storage_run *run = context;
  for (uint64_t i = 0; i < iterations; i++) {
    tarn_storage *storage = NULL;
    const tarn_status status =
        tarn_storage_create(run->use.pool, run->size_bytes, run->use.stream, &storage);
    if (status != TARN_OK) return status;
    measure_keep(storage);
    tarn_storage_release(storage);
  }
  return TARN_OK;
}

/* tarn's first, then the rivals that make sense here. Returns how many. */
static int list_allocators(const bench_run *bench, pool_use *use, bench_allocator allocators[3]) {
  int count = 0;
  allocators[count++] = (bench_allocator){"tarn", pool_get, pool_put, use, run_pool_pairs};
  if (!where_is_host(&bench->where)) return count;
  allocators[count++] = (bench_allocator){"malloc", malloc_get, malloc_put, NULL, run_malloc_pairs};
  if (jemalloc_baseline_exists()) {
    allocators[count++] =
        (bench_allocator){"jemalloc", jemalloc_get, jemalloc_put, NULL, run_jemalloc_pairs};
  }
  return count;
}

/* --- checks --- */

static void write_tags(char *block, size_t size_bytes, uint64_t tag) {
  memcpy(block, &tag, sizeof tag);
  memcpy(block + size_bytes - sizeof tag, &tag, sizeof tag);
}

static bool has_tags(const char *block, size_t size_bytes, uint64_t tag) {
  return memcmp(block, &tag, sizeof tag) == 0 &&
         memcmp(block + size_bytes - sizeof tag, &tag, sizeof tag) == 0;
}

/* The churn again, untimed, with a tag at both ends of each block: two owners of a byte show. */
static tarn_status check_churn(const char *name, pool_use *use, const churn_step *steps) {
  char **blocks = calloc(CHURN_SLOTS, sizeof *blocks);
  uint32_t *owners = calloc(CHURN_SLOTS, sizeof *owners); /* the step that allocated, and 1 */
  tarn_status status = TARN_OK;
  if (blocks == NULL || owners == NULL) status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory");
  for (uint32_t i = 0; status == TARN_OK && i < CHURN_CHECKED_STEPS + CHURN_SLOTS; i++) {
    /* The last round empties every slot. */
    const bool is_last_round = i >= CHURN_CHECKED_STEPS;
    const uint32_t slot = is_last_round ? i - CHURN_CHECKED_STEPS : steps[i].slot;
    if (blocks[slot] != NULL) {
      if (!has_tags(blocks[slot], steps[owners[slot] - 1].size_bytes, owners[slot])) {
        status = bench_wrong(name, "a block was written through another one");
      }
      pool_put(use, blocks[slot]);
      blocks[slot] = NULL;
    }
    if (is_last_round || status != TARN_OK) continue;
    blocks[slot] = pool_get(use, steps[i].size_bytes);
    if (blocks[slot] == NULL) {
      status = tarn_fail(TARN_OUT_OF_MEMORY, "tarn gives no %u bytes", steps[i].size_bytes);
      break;
    }
    owners[slot] = i + 1;
    write_tags(blocks[slot], steps[i].size_bytes, owners[slot]);
  }
  for (uint32_t i = 0; blocks != NULL && i < CHURN_SLOTS; i++) {
    if (blocks[i] != NULL) pool_put(use, blocks[i]);
  }
  free(blocks);
  free(owners);
  return status;
}

/* --- cases --- */

static tarn_status bench_pairs(bench_run *bench, pool_use *use) {
  static const size_t sizes[] = {64, 1 << 10, 64 << 10, 1 << 20, 16 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "alloc.pair.%s", bench_size_name(sizes[i]).text);
    if (!bench_wants(bench, name)) continue;
    bench_allocator allocators[3];
    pair_run runs[3];
    measure_subject subjects[3];
    const int count = list_allocators(bench, use, allocators);
    for (int j = 0; j < count; j++) {
      runs[j] = (pair_run){allocators[j], sizes[i]};
      subjects[j] = (measure_subject){allocators[j].name, allocators[j].run_pairs, &runs[j]};
    }
    const measure_options options = {.samples = 0};
    tarn_status status = bench_measure(bench, name, "ns", subjects, count, &options);
    if (status == TARN_OK) status = bench_check_nothing_left(name, use->pool);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

static tarn_status measure_churn(bench_run *bench, const char *name, pool_use *use,
                                 const churn_step *steps, churn_run *runs) {
  bench_allocator allocators[3];
  measure_subject subjects[3];
  const int count = list_allocators(bench, use, allocators);
  for (int i = 0; i < count; i++) {
    runs[i].allocator = allocators[i];
    runs[i].steps = steps;
    subjects[i] = (measure_subject){allocators[i].name, run_churn, &runs[i]};
  }
  tarn_status status = TARN_OK;
  for (int i = 0; status == TARN_OK && i < count; i++) {
    status = run_churn(&runs[i], CHURN_ROUNDS_AHEAD * CHURN_STEPS);
  }
  /* Long samples: a step's cost depends on its size, and a sample is to see many of them. */
  const measure_options options = {.sample_ns_min = 10 * 1000 * 1000};
  if (status == TARN_OK) status = bench_measure(bench, name, "ns", subjects, count, &options);
  for (int i = 0; i < count; i++) {
    for (int slot = 0; slot < CHURN_SLOTS; slot++) {
      void *address = runs[i].slots[slot];
      if (address != NULL) allocators[i].put(allocators[i].context, address);
    }
  }
  return status;
}

static tarn_status bench_churn(bench_run *bench, pool_use *use) {
  const char *name = "alloc.churn";
  if (!bench_wants(bench, name)) return TARN_OK;
  churn_step *steps = churn_steps_make(CHURN_SLOTS);
  churn_run *runs = calloc(3, sizeof *runs);
  tarn_status status = TARN_OK;
  if (steps == NULL || runs == NULL) {
    status = tarn_fail(TARN_OUT_OF_MEMORY, "no memory for the churn");
  }
  if (status == TARN_OK) status = measure_churn(bench, name, use, steps, runs);
  if (status == TARN_OK) status = bench_check_nothing_left(name, use->pool);
  /* A GPU's memory is not the CPU's to tag; transfers verify it. */
  if (status == TARN_OK && where_is_host(&bench->where)) status = check_churn(name, use, steps);
  free(steps);
  free(runs);
  return status;
}

static tarn_status bench_storages(bench_run *bench, pool_use *use) {
  static const struct {
    const char *name;
    size_t size_bytes;
  } cases[] = {{"storage.create_release", 1 << 10}, {"storage.create_release.1MiB", 1 << 20}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (!bench_wants(bench, cases[i].name)) continue;
    storage_run run = {*use, cases[i].size_bytes};
    pair_run rival = {{"malloc", malloc_get, malloc_put, NULL, run_malloc_pairs},
                      cases[i].size_bytes};
    const measure_subject subjects[] = {{"tarn", run_storages, &run},
                                        {"malloc", run_malloc_pairs, &rival}};
    const measure_options options = {.samples = 0};
    const int count = where_is_host(&bench->where) ? 2 : 1;
    tarn_status status = bench_measure(bench, cases[i].name, "ns", subjects, count, &options);
    if (status == TARN_OK) status = bench_check_nothing_left(cases[i].name, use->pool);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status bench_alloc(bench_run *bench) {
  pool_use use = {NULL, NULL};
  tarn_status status = TARN_OK;
  if (!bench->options->list) {
    status = tarn_caching_pool_create(bench->where.provider, NULL, &use.pool);
    /* The host's memory is measured as malloc is used: by the calling thread, now. */
    if (status == TARN_OK && bench->where.cuda != NULL) {
      status = where_stream_create(&bench->where, &use.stream);
    }
    if (status == TARN_OK && where_is_host(&bench->where) && !jemalloc_baseline_exists()) {
      fputs("tarn bench: this build found no jemalloc to compare with\n", stderr);
    }
  }
  if (status == TARN_OK) status = bench_pairs(bench, &use);
  if (status == TARN_OK) status = bench_churn(bench, &use);
  if (status == TARN_OK) status = bench_storages(bench, &use);
  if (status == TARN_OK) status = bench_alloc_many(bench);
  if (status == TARN_OK) status = bench_device_alloc(bench);
  if (status == TARN_OK) status = bench_numa(bench);
  if (status == TARN_OK) status = bench_pin(bench);
  if (status == TARN_OK) status = bench_virtual(bench);
  if (status == TARN_OK) status = bench_touch(bench);
  if (status == TARN_OK) status = bench_pause(bench);
  if (status == TARN_OK) status = bench_adapter(bench);
  tarn_stream_release(use.stream);
  tarn_pool_release(use.pool);
  return status;
}
