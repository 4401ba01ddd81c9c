/* node_provider.c: the pages provider with every range bound to one memory node. */
#include "numa/tarn_node_provider.h"

#include <stdio.h>
#include <stdlib.h>

#include "numa/topology.h"

typedef struct node_provider {
  tarn_topology *topology;
  int32_t node;
  tarn_provider *pages;
} node_provider;

static tarn_status node_attributes(void *context, tarn_provider_attributes *attributes) {
  const node_provider *self = context;
  *attributes = *tarn_provider_attributes_of(self->pages);
  attributes->node = self->node;
  return TARN_OK;
}

/* The policy belongs to the range of addresses: pages that come later come from the node. */
static tarn_status bind_or_free(node_provider *self, size_t size_bytes, void **address) {
  const tarn_status status = tarn__topology_bind(self->topology, self->node, *address, size_bytes);
  if (status == TARN_OK) return TARN_OK;
  const tarn_error cause = *tarn_last_error();
  void *const range = *address;
  *address = NULL;
  if (tarn_provider_free(self->pages, range, size_bytes) != TARN_OK) return TARN_SYSTEM_ERROR;
  return tarn_fail_native(status, cause.native_call, cause.native_code, "%s", cause.message);
}

static tarn_status node_alloc(void *context, size_t size_bytes, void **address) {
  node_provider *self = context;
  const tarn_status status = tarn_provider_alloc(self->pages, size_bytes, address);
  return status == TARN_OK ? bind_or_free(self, size_bytes, address) : status;
}

static tarn_status node_release(void *context, void *address, size_t size_bytes) {
  node_provider *self = context;
  return tarn_provider_free(self->pages, address, size_bytes);
}

static tarn_status node_reserve(void *context, size_t size_bytes, void **address) {
  node_provider *self = context;
  const tarn_status status = tarn_provider_reserve(self->pages, size_bytes, address);
  return status == TARN_OK ? bind_or_free(self, size_bytes, address) : status;
}

static tarn_status node_commit(void *context, void *address, size_t size_bytes) {
  node_provider *self = context;
  return tarn_provider_commit(self->pages, address, size_bytes);
}

static tarn_status node_decommit(void *context, void *address, size_t size_bytes) {
  node_provider *self = context;
  return tarn_provider_decommit(self->pages, address, size_bytes);
}

static void node_destroy(void *context) {
  node_provider *self = context;
  tarn_provider_release(self->pages);
  tarn_topology_release(self->topology);
  free(self);
}

tarn_status tarn_node_provider_create(tarn_topology *topology, int32_t node,
                                      const tarn_pages_options *pages, tarn_provider **provider) {
  if (provider == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "provider is NULL");
  *provider = NULL;
  if (topology == NULL) return tarn_fail(TARN_INVALID_ARGUMENT, "topology is NULL");
  tarn_status status = tarn__topology_check_node(topology, node, /*info=*/NULL);
  if (status != TARN_OK) return status;
  node_provider *self = calloc(1, sizeof *self);
  if (self == NULL) return tarn_fail(TARN_OUT_OF_MEMORY, "no memory for a node provider");
  self->node = node;
  self->topology = topology;
  tarn_topology_retain(topology);

  char name[24];
  snprintf(name, sizeof name, "node:%d", node);
  const tarn_provider_ops ops = {.struct_size = sizeof ops,
                                 .name = name,
                                 .attributes = node_attributes,
                                 .alloc = node_alloc,
                                 .release = node_release,
                                 .reserve = node_reserve,
                                 .commit = node_commit,
                                 .decommit = node_decommit,
                                 .destroy = node_destroy};
  status = tarn_pages_provider_create(pages, &self->pages);
  if (status == TARN_OK) status = tarn_provider_create(&ops, self, provider);
  if (status != TARN_OK) node_destroy(self);
  return status;
}
