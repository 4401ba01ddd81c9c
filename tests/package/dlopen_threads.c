/* dlopen_threads.c: loads libtarn.so, uses it in threads, and closes it before the threads end.
 *
 *   dlopen_threads LIBRARY
 *
 * Prints nothing where all is well: also the proof that no setting of the environment's is read. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numa/tarn_numa.h"

enum { THREADS = 8, ROUNDS = 200 };

static struct {
  __typeof__(&tarn_topology_create) topology_create;
  __typeof__(&tarn_topology_node) topology_node;
  __typeof__(&tarn_topology_release) topology_release;
  __typeof__(&tarn_node_pool_create) pool_create;
  __typeof__(&tarn_pool_alloc) alloc;
  __typeof__(&tarn_pool_free) free;
  __typeof__(&tarn_pool_release) pool_release;
} tarn;

static pthread_barrier_t used, closed;
static tarn_pool *pool;

static void fail(const char *what) {
  fprintf(stderr, "dlopen_threads: %s\n", what);
  exit(1);
}

static void look_up(void *library, const char *name, void *function) {
  void *const found = dlsym(library, name);
  if (found == NULL) fail(dlerror());
  memcpy(function, &found, sizeof found);
}

static void *use_and_outlive(void *argument) {
  (void)argument;
  for (size_t round = 0; round < ROUNDS; ++round) {
    void *address = NULL;
    const size_t size_bytes = 1 + round * 977;
    if (tarn.alloc(pool, size_bytes, NULL, &address) != TARN_OK) fail("alloc");
    memset(address, 1, size_bytes);
    if (tarn.free(pool, address, NULL) != TARN_OK) fail("free");
  }
  pthread_barrier_wait(&used);
  pthread_barrier_wait(&closed);
  return NULL; /* the thread's cache ends now, in a library that was closed */
}

int main(int argument_count, char **arguments) {
  if (argument_count != 2) fail("needs the path of libtarn.so");
  void *const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) fail(dlerror());
  look_up(library, "tarn_topology_create", &tarn.topology_create);
  look_up(library, "tarn_topology_node", &tarn.topology_node);
  look_up(library, "tarn_topology_release", &tarn.topology_release);
  look_up(library, "tarn_node_pool_create", &tarn.pool_create);
  look_up(library, "tarn_pool_alloc", &tarn.alloc);
  look_up(library, "tarn_pool_free", &tarn.free);
  look_up(library, "tarn_pool_release", &tarn.pool_release);

  tarn_topology *topology = NULL;
  tarn_node_info info = {.struct_size = sizeof info};
  if (tarn.topology_create(NULL, &topology) != TARN_OK) fail("topology");
  if (tarn.topology_node(topology, 0, &info) != TARN_OK) fail("node");
  const tarn_node_pool_options options = {.struct_size = sizeof options, .node = info.node};
  if (tarn.pool_create(topology, &options, &pool) != TARN_OK) fail("pool");
  tarn.topology_release(topology);

  pthread_t threads[THREADS];
  pthread_barrier_init(&used, NULL, THREADS + 1);
  pthread_barrier_init(&closed, NULL, THREADS + 1);
  for (int i = 0; i < THREADS; ++i) {
    if (pthread_create(&threads[i], NULL, use_and_outlive, NULL) != 0) fail("thread");
  }
  pthread_barrier_wait(&used);
  tarn.pool_release(pool);
  dlclose(library);
  pthread_barrier_wait(&closed);
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
  return 0;
}
