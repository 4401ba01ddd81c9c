/* crimes.c: touches memory of a pool that it must not touch, or all that it may; test_crimes.py
 * looks whether the memory checker notices.
 *
 * usage: crimes POOL CRIME     77: there is no such pool here */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_fixed.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"
#include "alloc/tarn_pool_provider.h"
#include "numa/tarn_numa.h"
#include "tests/support/open_cuda.h"

enum { ODD_BYTES = 1001, LARGE_BYTES = 3 << 20, SKIPPED = 77 };

static void must(tarn_status status) {
  if (status == TARN_OK) return;
  printf("%s\n", tarn_last_error()->message);
  exit(EXIT_FAILURE);
}

/* --- pools --- */

static tarn_status make_caching(tarn_status status, tarn_provider *provider, tarn_pool **pool) {
  if (status == TARN_OK) status = tarn_caching_pool_create(provider, NULL, pool);
  tarn_provider_release(provider);
  return status;
}

static tarn_status make_on_pages(tarn_pool **pool) {
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_pages_provider_create(NULL, &provider);
  return make_caching(status, provider, pool);
}

static tarn_status make_on_range(tarn_pool **pool) {
  static _Alignas(4096) char range[16 << 20];
  tarn_provider *provider = NULL;
  const tarn_status status = tarn_fixed_provider_create(range, sizeof range, NULL, &provider);
  return make_caching(status, provider, pool);
}

static tarn_status make_on_pool(tarn_pool **pool) {
  tarn_pool *upstream = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = make_on_pages(&upstream);
  if (status == TARN_OK) status = tarn_pool_provider_create(upstream, NULL, &provider);
  tarn_pool_release(upstream);
  return make_caching(status, provider, pool);
}

static tarn_status make_on_node(tarn_pool **pool) {
  tarn_topology *topology = NULL;
  tarn_provider *provider = NULL;
  tarn_node_info info = {.struct_size = sizeof info};
  tarn_status status = tarn_topology_create(NULL, &topology);
  if (status == TARN_OK) status = tarn_topology_node(topology, 0, &info);
  const tarn_node_options on_node = tarn_node_options_on(info.node);
  if (status == TARN_OK) status = tarn_node_provider_create(topology, &on_node, &provider);
  tarn_topology_release(topology);
  return make_caching(status, provider, pool);
}

static tarn_status make_jemalloc(tarn_pool **pool) {
  tarn_topology *topology = NULL;
  tarn_node_info info = {.struct_size = sizeof info};
  tarn_node_pool_options options = {.struct_size = sizeof options};
  tarn_status status = tarn_topology_create(NULL, &topology);
  if (status == TARN_OK) status = tarn_topology_node(topology, 0, &info);
  options.node = info.node;
  if (status == TARN_OK) status = tarn_node_pool_create(topology, &options, pool);
  tarn_topology_release(topology);
  return status;
}

static tarn_status make_pinned(tarn_pool **pool) {
  tarn_cuda *cuda = NULL;
  tarn_provider *provider = NULL;
  tarn_status status = test_open_cuda(&cuda);
  if (status == TARN_OK) status = tarn_cuda_pinned_provider_create(cuda, NULL, &provider);
  tarn_cuda_release(cuda);
  return make_caching(status, provider, pool);
}

/* --- crimes --- */

static tarn_pool *pool;

static char *take(size_t size_bytes, tarn_stream *stream) {
  void *address = NULL;
  must(tarn_pool_alloc(pool, size_bytes, stream, &address));
  return address;
}

static void give(void *address, tarn_stream *stream) {
  must(tarn_pool_free(pool, address, stream));
}

static char read_at(const char *address) {
  return *(const volatile char *)address;
}

static void read_freed(void) {
  char *block = take(ODD_BYTES, NULL);
  block[500] = 1;
  give(block, NULL);
  read_at(block + 500);
}

static void write_behind_the_end(void) {
  volatile char *block = take(ODD_BYTES, NULL);
  block[ODD_BYTES] = 1;
}

static void write_behind_a_shorter_block(void) {
  char *longer = take(ODD_BYTES, NULL);
  give(longer, NULL);
  volatile char *block = take(ODD_BYTES - 10, NULL);
  block[ODD_BYTES - 10] = 1;
}

static void read_what_was_never_lent(void) {
  read_at(take(ODD_BYTES, NULL) + 300000);
}

static void read_trimmed(void) {
  char *block = take(LARGE_BYTES, NULL);
  memset(block, 1, LARGE_BYTES);
  give(block, NULL);
  must(tarn_pool_trim(pool, 0, NULL));
  read_at(block + LARGE_BYTES / 2);
}

static void read_freed_by_a_stream(void) {
  tarn_stream *worker = NULL;
  must(tarn_worker_stream_create(&worker));
  char *block = take(ODD_BYTES, worker);
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  must(tarn_stream_fill(worker, block, cpu, 1, ODD_BYTES));
  give(block, worker);
  for (size_t size_bytes = 70000; size_bytes < 500000; size_bytes *= 2) {
    must(tarn_stream_synchronize(worker));
    give(take(size_bytes, NULL), NULL); /* the pool asks, and sees that the stream has come past */
  }
  read_at(block + 500);
}

static void decide_by_what_was_never_written(void) {
  char *block = take(ODD_BYTES, NULL);
  memset(block, 1, ODD_BYTES);
  give(block, NULL);
  block = take(ODD_BYTES, NULL);
  if (block[500] == 1) puts("what the block's last user wrote");
}

static void free_twice(void) {
  char *block = take(ODD_BYTES, NULL);
  give(block, NULL);
  if (tarn_pool_free(pool, block, NULL) == TARN_OK) exit(EXIT_FAILURE);
}

/* Not on this function's stack, where a checker would find the pointer. */
static __attribute__((noinline)) char **hide_in_pool(void) {
  char **block = (char **)(void *)take(ODD_BYTES, NULL);
  block[0] = malloc(123);
  return block;
}

static __attribute__((noinline)) void forget_stack(void) {
  volatile char rubble[4096];
  for (size_t i = 0; i < sizeof rubble; i++) rubble[i] = 0;
}

static void keep_in_lent_memory(void) {
  hide_in_pool();
  forget_stack();
}

static void lose_in_freed_memory(void) {
  give(hide_in_pool(), NULL);
  forget_stack();
}

/* --- no crime --- */

enum { STREAMS = 3, ROUNDS = 400, BLOCKS = 16 };

/* Every byte of every block is written and read, now or by a stream's thread, after which the block
 * may be freed at once in the stream's order. */
static void use_all_that_is_allowed(void) {
  const tarn_device cpu = tarn_device_make(TARN_DEVICE_CPU, 0);
  tarn_stream *streams[STREAMS] = {NULL}; /* the last one is the CPU */
  for (int i = 0; i < STREAMS - 1; i++) must(tarn_worker_stream_create(&streams[i]));
  char *blocks[STREAMS][BLOCKS] = {{NULL}};
  size_t sizes[STREAMS][BLOCKS];
  unsigned random = 1;
  for (int round = 0; round < ROUNDS; round++) {
    random = random * 1103515245 + 12345;
    const unsigned which = random >> 16 & (BLOCKS - 1);
    tarn_stream *stream = streams[round % STREAMS];
    char **block = &blocks[round % STREAMS][which];
    size_t *size_bytes = &sizes[round % STREAMS][which];
    if (*block != NULL) {
      char *copy = take(*size_bytes, stream);
      must(tarn_stream_copy(stream, copy, cpu, *block, cpu, *size_bytes));
      give(*block, stream);
      give(copy, stream);
      *block = NULL;
      continue;
    }
    *size_bytes = 1 + (random >> 8) % (round % 20 == 0 ? 500000 : 3000);
    *block = take(*size_bytes, stream);
    must(tarn_stream_fill(stream, *block, cpu, (uint8_t)round, *size_bytes));
    if (round % 50 == 0) must(tarn_pool_trim(pool, 0, NULL));
    if (round % 17 == 0) must(tarn_stream_synchronize(stream));
  }
  for (int i = 0; i < STREAMS; i++) {
    for (int k = 0; k < BLOCKS; k++) {
      if (blocks[i][k] != NULL) give(blocks[i][k], streams[i]);
    }
    tarn_stream_release(streams[i]);
  }
  tarn_pool_release(pool);
}

static const struct {
  const char *name;
  tarn_status (*make)(tarn_pool **pool);
} pools[] = {
    {"pages", make_on_pages}, {"range", make_on_range},    {"pool", make_on_pool},
    {"node", make_on_node},   {"jemalloc", make_jemalloc}, {"pinned", make_pinned},
};

static const struct {
  const char *name;
  void (*commit)(void);
} crimes[] = {
    {"none", use_all_that_is_allowed},
    {"read_freed", read_freed},
    {"write_behind_the_end", write_behind_the_end},
    {"write_behind_a_shorter_block", write_behind_a_shorter_block},
    {"read_what_was_never_lent", read_what_was_never_lent},
    {"read_trimmed", read_trimmed},
    {"read_freed_by_a_stream", read_freed_by_a_stream},
    {"decide_by_what_was_never_written", decide_by_what_was_never_written},
    {"free_twice", free_twice},
    {"keep_in_lent_memory", keep_in_lent_memory},
    {"lose_in_freed_memory", lose_in_freed_memory},
};

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
    if (strcmp(argv[1], pools[i].name) != 0) continue;
    if (pools[i].make(&pool) != TARN_OK) return puts(tarn_last_error()->message), SKIPPED;
  }
  for (size_t i = 0; pool != NULL && i < sizeof crimes / sizeof *crimes; i++) {
    if (strcmp(argv[2], crimes[i].name) != 0) continue;
    crimes[i].commit();
    return 0;
  }
  return 2;
}
