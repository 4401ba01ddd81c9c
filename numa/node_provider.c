/* node_provider.c: the pages provider with everything that it commits placed on memory nodes. */
#include "numa/tarn_node_provider.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "numa/placement.h"
#include "numa/promises.h"
#include "numa/topology.h"

enum { NAME_BYTES = 64 };

typedef struct node_provider {
  tarn_topology *topology;
  tarn_placement_resolved resolved;
  size_t stripe_bytes; /* as wished; 0: by the size of a commit */
  tarn_provider *pages;
  tarn__promises *promises; /* NULL: nothing has to be promised */
  bool is_populated;        /* what is committed is touched */
  atomic_bool is_bound;     /* something was */
  atomic_int refused_code;  /* of the last bind that was refused and could be done without */
} node_provider;

static tarn_status node_attributes(void *context, tarn_provider_attributes *attributes) {
  const node_provider *self = context;
  *attributes = *tarn_provider_attributes_of(self->pages);
  const bool is_one = self->resolved.mode == TARN_PLACEMENT_MODE_BIND ||
                      self->resolved.mode == TARN_PLACEMENT_MODE_PREFER;
  attributes->node = is_one ? self->resolved.nodes[0] : -1;
  return TARN_OK;
}

/* Memory that has just been committed and has no pages yet. Where that or a later step fails,
 * node_commit takes the promise back. */
static tarn_status place(void *context, void *address, size_t size_bytes) {
  node_provider *self = context;
  size_t room_bytes[TARN_PLACEMENT_NODES_MAX];
  tarn_placement_resolved resolved = self->resolved;
  /* A mapping of the kernel for each stripe, and there are only so many. */
  if (resolved.mode == TARN_PLACEMENT_MODE_STRIPES &&
      !tarn__placement_choose_stripe(&resolved, self->stripe_bytes, size_bytes)) {
    return tarn_fail(TARN_TOO_LARGE, "%zu bytes in stripes of %zu", size_bytes, self->stripe_bytes);
  }
  if (self->promises != NULL) {
    const tarn_status status =
        tarn__promises_add(self->promises, &resolved, address, size_bytes, room_bytes);
    if (status != TARN_OK) return status;
  }
  tarn_placement_granted granted = {.struct_size = sizeof granted};
  const tarn_status status =
      tarn__placement_bind(self->topology, &resolved, self->promises != NULL ? room_bytes : NULL,
                           address, size_bytes, &granted);
  if (status != TARN_OK) return status;
  if (self->promises != NULL) tarn__promises_learn(self->promises, granted.node_bytes);
  /* Relaxed: reports, that order nothing. */
  if (granted.is_bound) atomic_store_explicit(&self->is_bound, true, memory_order_relaxed);
  if (granted.refused_code != 0) {
    atomic_store_explicit(&self->refused_code, granted.refused_code, memory_order_relaxed);
  }
  return TARN_OK;
}

static void drop_promise(node_provider *self, void *address, size_t size_bytes) {
  if (self->promises != NULL) tarn__promises_drop(self->promises, address, size_bytes);
}

static tarn_status node_commit(void *context, void *address, size_t size_bytes) {
  node_provider *self = context;
  const tarn_status status = tarn_provider_commit(self->pages, address, size_bytes);
  /* What is touched is no promise any more, and what failed neither. */
  if (status != TARN_OK || self->is_populated) drop_promise(self, address, size_bytes);
  return status;
}

static tarn_status node_decommit(void *context, void *address, size_t size_bytes) {
  node_provider *self = context;
  drop_promise(self, address, size_bytes);
  return tarn_provider_decommit(self->pages, address, size_bytes);
}

static tarn_status node_release(void *context, void *address, size_t size_bytes) {
  node_provider *self = context;
  drop_promise(self, address, size_bytes);
  return tarn_provider_free(self->pages, address, size_bytes);
}

static tarn_status node_reserve(void *context, size_t size_bytes, void **address) {
  node_provider *self = context;
  return tarn_provider_reserve(self->pages, size_bytes, address);
}

/* A range that is committed at once, so that where it lies is known when it is promised. */
static tarn_status node_alloc(void *context, size_t size_bytes, void **address) {
  node_provider *self = context;
  if ((tarn_provider_attributes_of(self->pages)->flags & TARN_PROVIDER_RESERVES) == 0) {
    return tarn_provider_alloc(self->pages, size_bytes, address);
  }
  tarn_status status = tarn_provider_reserve(self->pages, size_bytes, address);
  if (status != TARN_OK) return status;
  status = node_commit(self, *address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error error = *tarn_last_error();
  (void)!tarn_provider_free(self->pages, *address, size_bytes);
  *address = NULL;
  return tarn_fail_again(&error);
}

static tarn_status node_share(void *context, const void *address, int *descriptor,
                              int64_t *offset_bytes) {
  node_provider *self = context;
  return tarn_provider_share(self->pages, address, descriptor, offset_bytes);
}

static void node_destroy(void *context) {
  node_provider *self = context;
  tarn__promises_destroy(self->promises);
  tarn_provider_release(self->pages);
  tarn_topology_release(self->topology);
  free(self);
}

/* --- creation --- */

/* The processors nearest to the nodes; those of several nodes may come twice, which does no harm.
 * *cpus is to be freed. */
static tarn_status list_cpus(const node_provider *self, int32_t **cpus, int32_t *cpu_count) {
  *cpus = NULL;
  *cpu_count = 0;
  if (self->resolved.mode == TARN_PLACEMENT_MODE_NONE) return TARN_OK;
  int32_t capacity = 0;
  int32_t count = 0;
  for (int32_t i = 0; i < self->resolved.node_count; ++i) {
    const tarn_status status =
        tarn_topology_node_cpus(self->topology, self->resolved.nodes[i], 0, NULL, &count);
    if (status != TARN_OK) return status;
    capacity += count;
  }
  if (capacity == 0) return TARN_OK;
  int32_t *listed = calloc((size_t)capacity, sizeof *listed);
  if (listed == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for %d processors", capacity);
  int32_t listed_count = 0;
  for (int32_t i = 0; i < self->resolved.node_count; ++i) {
    const tarn_status status =
        tarn_topology_node_cpus(self->topology, self->resolved.nodes[i], capacity - listed_count,
                                listed + listed_count, &count);
    if (status != TARN_OK) {
      free(listed);
      return status;
    }
    listed_count += count;
  }
  *cpus = listed;
  *cpu_count = listed_count;
  return TARN_OK;
}

static tarn_status make_pages(const tarn_node_options *options, node_provider *self) {
  int32_t *cpus = NULL;
  tarn_touch_options touch = {.struct_size = sizeof touch, .thread_count = options->touch_threads};
  tarn_status status = list_cpus(self, &cpus, &touch.cpu_count);
  if (status != TARN_OK) return status;
  touch.cpus = cpus;
  const tarn_pages_options pages = {.struct_size = sizeof pages,
                                    .huge = options->huge,
                                    .granularity_bytes = options->granularity_bytes,
                                    .page_bytes = options->page_bytes,
                                    .flags = options->flags,
                                    .touch = &touch,
                                    .place = place,
                                    .place_context = self};
  status = tarn_pages_provider_create(&pages, &self->pages);
  free(cpus);
  return status;
}

static tarn_status resolve(const tarn_node_options *options, node_provider *self) {
  tarn_placement placement = options->placement;
  if (placement.struct_size == 0 && placement.kind == TARN_PLACEMENT_DEFAULT) {
    placement.struct_size = sizeof placement;
  }
  self->resolved.struct_size = sizeof self->resolved;
  placement.page_bytes = options->page_bytes;
  self->stripe_bytes = placement.stripe_bytes;
  tarn_status status =
      tarn_placement_resolve(self->topology, &placement, /*size_bytes=*/0, &self->resolved);
  for (int32_t i = 0; status == TARN_OK && i < self->resolved.node_count; ++i) {
    status = tarn__topology_check_node(self->topology, self->resolved.nodes[i], /*info=*/NULL);
  }
  if (status != TARN_OK) return status;
  const bool is_checked = (placement.flags & TARN_PLACEMENT_STRICT) != 0 &&
                          (placement.flags & TARN_PLACEMENT_UNCHECKED) == 0 &&
                          self->resolved.mode != TARN_PLACEMENT_MODE_NONE;
  /* Explicit pages come out of a pool of their own, and are all taken by a commit that succeeds. */
  if (!is_checked || options->page_bytes != 0) return TARN_OK;
  return tarn__promises_create(self->topology, &self->resolved, &self->promises);
}

/* "node:1", "nodes:0,2". */
static void name_of(const node_provider *self, char name[NAME_BYTES]) {
  const int32_t count = self->resolved.node_count;
  const char *text = self->resolved.mode == TARN_PLACEMENT_MODE_NONE ? "nodes:any"
                     : count == 1                                    ? "node:"
                                                                     : "nodes:";
  size_t length = (size_t)snprintf(name, NAME_BYTES, "%s", text);
  if (self->resolved.mode == TARN_PLACEMENT_MODE_NONE) return;
  for (int32_t i = 0; i < count && length < NAME_BYTES; ++i) {
    length += (size_t)snprintf(name + length, NAME_BYTES - length, i == 0 ? "%d" : ",%d",
                               self->resolved.nodes[i]);
  }
}

tarn_status tarn_node_provider_create(tarn_topology *topology, const tarn_node_options *options,
                                      tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (topology == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "topology is NULL");
  const tarn_node_options defaults = {.struct_size = sizeof defaults};
  if (options == NULL) options = &defaults;
  if (options->struct_size != sizeof *options) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_node_options has %zu bytes here, %zu were given",
                     sizeof *options, options->struct_size);
  }
  node_provider *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a node provider");
  atomic_init(&self->is_bound, false);
  atomic_init(&self->refused_code, 0);
  self->is_populated = (options->flags & TARN_PAGES_POPULATE) != 0;
  self->topology = topology;
  tarn_topology_retain(topology);

  tarn_status status = resolve(options, self);
  if (status == TARN_OK) status = make_pages(options, self);
  if (status == TARN_OK) {
    char name[NAME_BYTES];
    name_of(self, name);
    const bool can_reserve =
        (tarn_provider_attributes_of(self->pages)->flags & TARN_PROVIDER_RESERVES) != 0;
    const tarn_provider_ops ops = {
        .struct_size = sizeof ops,
        .name = name,
        .attributes = node_attributes,
        .alloc = node_alloc,
        .release = node_release,
        .reserve = can_reserve ? node_reserve : NULL,
        .commit = can_reserve ? node_commit : NULL,
        .decommit = can_reserve ? node_decommit : NULL,
        .destroy = node_destroy,
        .share = (options->flags & TARN_PAGES_SHARED) != 0 ? node_share : NULL};
    status = tarn_provider_create(&ops, self, provider);
  }
  if (status != TARN_OK) node_destroy(self);
  return status;
}

tarn_status tarn_node_provider_granted(const tarn_provider *provider, const void *address,
                                       size_t size_bytes, tarn_node_granted *granted) {
  if (granted == NULL || granted->struct_size != sizeof *granted) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a tarn_node_granted with struct_size %zu is needed",
                     sizeof *granted);
  }
  *granted = (tarn_node_granted){.struct_size = sizeof *granted,
                                 .resolved.struct_size = sizeof granted->resolved,
                                 .pages.struct_size = sizeof granted->pages,
                                 .placed.struct_size = sizeof granted->placed};
  node_provider *self = tarn_provider_context(provider, node_release);
  if (self == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s is not a node provider",
                     provider != NULL ? tarn_provider_name(provider) : "NULL");
  }
  granted->resolved = self->resolved;
  granted->is_bound = atomic_load_explicit(&self->is_bound, memory_order_relaxed);
  granted->refused_code = atomic_load_explicit(&self->refused_code, memory_order_relaxed);
  if (granted->refused_code != 0) granted->is_bound = false;
  const tarn_status pages = tarn_pages_inspect(address, size_bytes, &granted->pages);
  const tarn_status placed = tarn_placement_verify(address, size_bytes, &granted->placed);
  return pages != TARN_OK ? pages : placed;
}
