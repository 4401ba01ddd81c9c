/* where.c: opens the memory that --on names. */
#include "bench/where.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/tarn_caching_pool.h"
#include "alloc/tarn_host_stream.h"
#include "alloc/tarn_pages.h"

#ifndef BENCH_SIM_INSTALLED
#error "the build says where, seen from the command, an installed simulated driver lies"
#endif

/* A number, and what follows it in *rest; NULL where there is none. */
static const char *parse_index(const char *text, int32_t *index) {
  char *end = NULL;
  if (text[0] < '0' || text[0] > '9') return NULL;
  const long value = strtol(text, &end, 10);
  if (value > 65535) return NULL;
  *index = (int32_t)value;
  return end;
}

bool where_parse(const char *text, where_place *where) {
  memset(where, 0, sizeof *where);
  where->node = -1;
  if (text == NULL) text = "host";
  snprintf(where->name, sizeof where->name, "%s", text);
  static const struct {
    const char *text;
    where_kind kind;
  } names[] = {
      {"host", WHERE_HOST},
      {"pinned", WHERE_PINNED},
      {"sim", WHERE_SIM},
      {"sim:virtual", WHERE_SIM_VIRTUAL},
      {"sim:driver", WHERE_SIM_DRIVER},
      {"sim:pinned", WHERE_SIM_PINNED},
  };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(text, names[i].text) != 0) continue;
    where->kind = names[i].kind;
    return true;
  }
  static const struct {
    const char *before;
    const char *after;
    where_kind kind;
  } numbered[] = {
      {"node:", "", WHERE_NODE},
      {"pinned:", "", WHERE_PINNED},
      {"cuda:", "", WHERE_CUDA},
      {"cuda:", ":virtual", WHERE_CUDA_VIRTUAL},
      {"cuda:", ":driver", WHERE_CUDA_DRIVER},
  };
  for (size_t i = 0; i < sizeof numbered / sizeof numbered[0]; i++) {
    const size_t length = strlen(numbered[i].before);
    if (strncmp(text, numbered[i].before, length) != 0) continue;
    const char *rest = parse_index(text + length, &where->index);
    if (rest == NULL || strcmp(rest, numbered[i].after) != 0) continue;
    where->kind = numbered[i].kind;
    if (where->kind != WHERE_NODE && where->kind != WHERE_PINNED) return true;
    where->node = where->index;
    where->index = 0;
    return true;
  }
  return false;
}

char *where_find_sim(void) {
  static const char *const places[] = {"sim/libcuda.so.1", "../sim/libcuda.so.1",
                                       BENCH_SIM_INSTALLED "/libcuda.so.1"};
  char command[4096];
  const ssize_t length = readlink("/proc/self/exe", command, sizeof command - 1);
  if (length <= 0) return NULL;
  command[length] = '\0';
  char *slash = strrchr(command, '/');
  if (slash == NULL) return NULL;
  slash[1] = '\0';
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    char *path = NULL;
    if (asprintf(&path, "%s%s", command, places[i]) < 0) return NULL;
    if (access(path, R_OK) == 0) return path;
    free(path);
  }
  return NULL;
}

static bool is_sim_kind(where_kind kind) {
  return kind == WHERE_SIM || kind == WHERE_SIM_VIRTUAL || kind == WHERE_SIM_DRIVER ||
         kind == WHERE_SIM_PINNED;
}

/* Pages of the node, or of any where there is none. */
static tarn_status open_pages(where_place *where, tarn_provider **provider) {
  if (where->node < 0) return tarn_pages_provider_create(NULL, provider);
  if (where->topology == NULL) {
    const tarn_status status = tarn_topology_create(NULL, &where->topology);
    if (status != TARN_OK) return status;
  }
  const tarn_node_options options = tarn_node_options_on(where->node);
  return tarn_node_provider_create(where->topology, &options, provider);
}

static tarn_status open_host(where_place *where) {
  const tarn_status status = open_pages(where, &where->provider);
  if (status != TARN_OK) return status;
  return tarn_pages_provider_create(NULL, &where->host_pages);
}

/* The node nearest to the GPU: as the driver says, or as the machine's topology does; -1 where
 * neither knows, in a build without hwloc for one. */
static int32_t find_node(where_place *where) {
  tarn_cuda_device_info info = {.struct_size = sizeof info};
  int32_t node = -1;
  if (tarn_cuda_device_info_of(where->cuda, where->index, &info) != TARN_OK) return -1;
  if (where->topology == NULL && tarn_topology_create(NULL, &where->topology) != TARN_OK) return -1;
  if (info.host_node >= 0) return info.host_node;
  return tarn_topology_node_of_pci(where->topology, info.pci_bus_id, &node) == TARN_OK ? node : -1;
}

/* Pinned near the GPU: its node, that node's pages, locked for every GPU. */
static tarn_status open_pinned(where_place *where, tarn_provider **provider) {
  tarn_provider *pages = NULL;
  tarn_status status = open_pages(where, &pages);
  if (status != TARN_OK) return status;
  const tarn_cuda_pinned_options options = {.struct_size = sizeof options, .host = pages};
  status = tarn_cuda_pinned_provider_create(where->cuda, &options, provider);
  tarn_provider_release(pages);
  return status;
}

static tarn_status open_driver(where_place *where) {
  if (is_sim_kind(where->kind)) {
    where->driver_path = where_find_sim();
    if (where->driver_path == NULL) {
      return tarn_fail(TARN_UNAVAILABLE,
                       "no simulated driver (sim/libcuda.so.1) near this command");
    }
  }
  const tarn_cuda_options options = {.struct_size = sizeof options,
                                     .driver_path = where->driver_path};
  tarn_status status = tarn_cuda_open(&options, &where->cuda);
  if (status != TARN_OK) return status;
  where->is_simulated = tarn_cuda_is_simulated(where->cuda);
  if (where->index >= tarn_cuda_device_count(where->cuda)) {
    return tarn_fail(TARN_UNAVAILABLE, "there is no GPU %d, the driver names %d", where->index,
                     tarn_cuda_device_count(where->cuda));
  }
  const bool is_asked = where->node >= 0;
  if (!is_asked) where->node = find_node(where);
  status = open_pinned(where, &where->host_pages);
  if (status != TARN_OK && !is_asked && where->node >= 0) {
    where->node =
        -1; /* the process may not have that node's memory: then any, and the name says so */
    status = open_pinned(where, &where->host_pages);
  }
  if (status != TARN_OK) return status;
  if (where->kind == WHERE_PINNED || where->kind == WHERE_SIM_PINNED) {
    if (where->kind == WHERE_PINNED && where->node >= 0) {
      snprintf(where->name, sizeof where->name, "pinned:%d", (int)where->node);
    }
    return open_pinned(where, &where->provider);
  }
  if (where->kind == WHERE_CUDA_VIRTUAL || where->kind == WHERE_SIM_VIRTUAL) {
    return tarn_cuda_virtual_provider_create(where->cuda, where->index, NULL, &where->provider);
  }
  return tarn_cuda_device_provider_create(where->cuda, where->index, &where->provider);
}

tarn_status where_open(where_place *where) {
  const tarn_status status = where_is_host(where) ? open_host(where) : open_driver(where);
  if (status != TARN_OK) where_close(where);
  return status;
}

void where_close(where_place *where) {
  tarn_provider_release(where->provider);
  tarn_provider_release(where->host_pages);
  if (where->topology != NULL) tarn_topology_release(where->topology);
  if (where->cuda != NULL) tarn_cuda_release(where->cuda);
  free(where->driver_path);
  where->provider = NULL;
  where->host_pages = NULL;
  where->topology = NULL;
  where->cuda = NULL;
  where->driver_path = NULL;
}

bool where_has_own_pool(const where_place *where) {
  return where->kind == WHERE_CUDA_DRIVER || where->kind == WHERE_SIM_DRIVER;
}

tarn_status where_pool_create(const where_place *where, tarn_pool **pool) {
  if (!where_has_own_pool(where)) return tarn_caching_pool_create(where->provider, NULL, pool);
  return tarn_cuda_driver_pool_create(where->cuda, where->index, NULL, pool);
}

tarn_status where_stream_create(const where_place *where, tarn_stream **stream) {
  if (where->cuda == NULL) return tarn_worker_stream_create(stream);
  return tarn_cuda_stream_create(where->cuda, where->index, stream);
}

bool where_is_host(const where_place *where) {
  return where->kind == WHERE_HOST || where->kind == WHERE_NODE;
}

bool where_is_device(const where_place *where) {
  return !where_is_host(where) && where->kind != WHERE_PINNED && where->kind != WHERE_SIM_PINNED;
}
