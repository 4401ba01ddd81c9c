/* placement.c: what a placement means on a topology: nodes, weights and a mode. */
#include "numa/placement.h"

#include <string.h>
#include <unistd.h>

#include "numa/topology.h"

enum {
  ALL_FLAGS = TARN_PLACEMENT_STRICT | TARN_PLACEMENT_MOVE | TARN_PLACEMENT_UNCHECKED,
  WEIGHT_MAX = UINT16_MAX,
  MEASURED_WEIGHT_MAX = 16, /* finer than what firmware tells */
};

/* What each kind has a use for, besides flags and page_bytes. */
typedef struct kind_fields {
  const char *name;
  int32_t node_count_min;
  int32_t node_count_max;
  bool takes_flags;
  bool takes_weights;
  bool takes_device;
  bool takes_attribute;
  bool takes_stripe;
} kind_fields;

static const kind_fields kinds[] = {
    [TARN_PLACEMENT_DEFAULT] = {.name = "DEFAULT"},
    [TARN_PLACEMENT_NODE] = {"NODE", 1, 1, .takes_flags = true},
    [TARN_PLACEMENT_NEAR_DEVICE] = {"NEAR_DEVICE", 0, 1, .takes_flags = true, .takes_device = true},
    [TARN_PLACEMENT_NEAR_THREAD] = {"NEAR_THREAD", 0, 0, .takes_flags = true},
    [TARN_PLACEMENT_INTERLEAVE] = {"INTERLEAVE", 0, TARN_PLACEMENT_NODES_MAX, .takes_flags = true,
                                   .takes_stripe = true},
    [TARN_PLACEMENT_WEIGHTED] = {"WEIGHTED", 0, TARN_PLACEMENT_NODES_MAX, .takes_flags = true,
                                 .takes_weights = true, .takes_stripe = true},
    [TARN_PLACEMENT_ORDERED] = {"ORDERED", 0, TARN_PLACEMENT_NODES_MAX, .takes_flags = true},
    [TARN_PLACEMENT_ATTRIBUTE] = {"ATTRIBUTE", 0, 1, .takes_flags = true, .takes_device = true,
                                  .takes_attribute = true},
};

static tarn_status check_nodes(const tarn_placement *placement, const kind_fields *kind) {
  if (placement->node_count < kind->node_count_min ||
      placement->node_count > kind->node_count_max) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s takes %d to %d nodes, %d were given", kind->name,
                     kind->node_count_min, kind->node_count_max, placement->node_count);
  }
  for (int32_t i = 0; i < placement->node_count; ++i) {
    for (int32_t j = 0; j < i; ++j) {
      if (placement->nodes[i] != placement->nodes[j]) continue;
      return tarn_fail(TARN_INVALID_ARGUMENT, "node %d is named twice", placement->nodes[i]);
    }
  }
  int32_t weight_count = 0;
  for (int32_t i = 0; i < TARN_PLACEMENT_NODES_MAX; ++i) {
    const uint32_t weight = placement->weights[i];
    weight_count += weight != 0;
    if (weight == 0 || (kind->takes_weights && i < placement->node_count && weight <= WEIGHT_MAX)) {
      continue;
    }
    return tarn_fail(TARN_INVALID_ARGUMENT, "weight %u at %d: %s takes them from 1 to %d, by node",
                     weight, i, kind->name, kind->takes_weights ? WEIGHT_MAX : 0);
  }
  if (weight_count == 0 || weight_count == placement->node_count) return TARN_OK;
  return tarn_fail(TARN_INVALID_ARGUMENT, "%d of %d nodes have a weight: give it to all or to none",
                   weight_count, placement->node_count);
}

static tarn_status check_sizes(const tarn_placement *placement, const kind_fields *kind,
                               size_t *page_bytes) {
  const size_t base_bytes = (size_t)sysconf(_SC_PAGESIZE);
  *page_bytes = placement->page_bytes == 0 ? base_bytes : placement->page_bytes;
  if (!tarn_is_power_of_two(*page_bytes) || *page_bytes < base_bytes) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "pages of %zu bytes: a power of two from %zu is needed",
                     *page_bytes, base_bytes);
  }
  if (placement->stripe_bytes != 0 && !kind->takes_stripe) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s has no stripes", kind->name);
  }
  if (placement->stripe_bytes % *page_bytes != 0) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "stripes of %zu bytes are not whole pages of %zu",
                     placement->stripe_bytes, *page_bytes);
  }
  return TARN_OK;
}

static tarn_status check(const tarn_topology *topology, const tarn_placement *placement,
                         size_t *page_bytes) {
  if (placement->struct_size != sizeof *placement) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "tarn_placement has %zu bytes here, %zu were given",
                     sizeof *placement, placement->struct_size);
  }
  if ((unsigned)placement->kind >= sizeof kinds / sizeof *kinds) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "there is no placement %d", (int)placement->kind);
  }
  const kind_fields *kind = &kinds[placement->kind];
  const bool is_unchecked_only =
      (placement->flags & (TARN_PLACEMENT_UNCHECKED | TARN_PLACEMENT_STRICT)) ==
      TARN_PLACEMENT_UNCHECKED;
  if ((placement->flags & ~(uint32_t)ALL_FLAGS) != 0 || is_unchecked_only ||
      (placement->flags != 0 && !kind->takes_flags)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "flags %#x do not go with %s", placement->flags,
                     kind->name);
  }
  if (memchr(placement->pci_bus_id, '\0', sizeof placement->pci_bus_id) == NULL ||
      (placement->pci_bus_id[0] != '\0' && !kind->takes_device)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%s takes %s", kind->name,
                     kind->takes_device ? "a bus id that ends" : "no bus id");
  }
  if ((unsigned)placement->attribute >= TARN__ATTRIBUTE_COUNT ||
      ((placement->attribute != 0 || placement->least_free_bytes != 0) && !kind->takes_attribute)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "attribute %d with %zu free bytes does not go with %s",
                     (int)placement->attribute, placement->least_free_bytes, kind->name);
  }
  tarn_status status = check_nodes(placement, kind);
  if (status == TARN_OK) status = check_sizes(placement, kind, page_bytes);
  for (int32_t i = 0; status == TARN_OK && i < placement->node_count; ++i) {
    if (tarn__topology_index(topology, placement->nodes[i]) >= 0) continue;
    status = tarn_fail(TARN_UNAVAILABLE, "there is no node %d among the %d of the topology",
                       placement->nodes[i], topology->node_count);
  }
  return status;
}

/* The device's node by the topology; where it does not know, what the caller was told. */
static tarn_status find_device(const tarn_topology *topology, const tarn_placement *placement,
                               int32_t *node) {
  *node = placement->node_count == 1 ? placement->nodes[0] : TARN_NODE_ANY;
  if (placement->pci_bus_id[0] == '\0') {
    if (*node >= 0) return TARN_OK;
    return tarn_fail(TARN_INVALID_ARGUMENT, "near to which device? neither bus id nor node");
  }
  int32_t found;
  const tarn_status status = tarn_topology_node_of_pci(topology, placement->pci_bus_id, &found);
  const bool is_unknown = status == TARN_NOT_FOUND || status == TARN_UNAVAILABLE;
  if (is_unknown && *node >= 0) return TARN_OK;
  *node = found;
  return status;
}

static tarn_status find_best(const tarn_topology *topology, const tarn_placement *placement,
                             tarn_placement_resolved *resolved) {
  int32_t from_node = placement->node_count == 1 ? placement->nodes[0] : TARN_NODE_ANY;
  if (placement->pci_bus_id[0] != '\0') {
    const tarn_status status = find_device(topology, placement, &from_node);
    if (status != TARN_OK) return status;
  }
  tarn_best_node best = {.struct_size = sizeof best};
  tarn_status status = tarn_topology_best_node(topology, from_node, placement->attribute,
                                               placement->least_free_bytes, &best);
  if (status == TARN_OUT_OF_MEMORY && (placement->flags & TARN_PLACEMENT_STRICT) == 0) {
    resolved->is_short = true;
    status = tarn_topology_best_node(topology, from_node, placement->attribute,
                                     /*least_free_bytes=*/0, &best);
  }
  resolved->nodes[0] = best.node;
  resolved->is_measured = best.is_measured;
  return status;
}

static tarn_status take_nodes(const tarn_topology *topology, const tarn_placement *placement,
                              tarn_placement_resolved *resolved) {
  resolved->node_count = placement->node_count;
  memcpy(resolved->nodes, placement->nodes, sizeof resolved->nodes);
  if (placement->node_count > 0) return TARN_OK;
  int32_t count = 0;
  if (placement->kind == TARN_PLACEMENT_ORDERED) {
    const tarn_status status = tarn_topology_nodes_near(
        topology, TARN_NODE_ANY, TARN_PLACEMENT_NODES_MAX, resolved->nodes, &count);
    if (status != TARN_OK) return status;
  } else {
    for (int32_t i = 0; i < topology->node_count; ++i) {
      if (topology->nodes[i].info.memory_kind == TARN_MEMORY_GPU) continue;
      if (count < TARN_PLACEMENT_NODES_MAX) resolved->nodes[count] = topology->nodes[i].info.node;
      ++count;
    }
  }
  resolved->node_count = count;
  if (count <= TARN_PLACEMENT_NODES_MAX) return TARN_OK;
  return tarn_fail(TARN_NOT_SUPPORTED, "there are %d nodes: name at most %d of them", count,
                   TARN_PLACEMENT_NODES_MAX);
}

static uint32_t divisor_of_all(const uint32_t *numbers, int32_t count) {
  uint32_t divisor = 0;
  for (int32_t i = 0; i < count; ++i) {
    for (uint32_t number = numbers[i]; number != 0;) {
      const uint32_t rest = divisor % number;
      divisor = number;
      number = rest;
    }
  }
  return divisor;
}

/* In proportion to the bandwidth that each node's own processors see; alike where that is not told
 * of all. */
static void measure_weights(const tarn_topology *topology, tarn_placement_resolved *resolved) {
  uint64_t bandwidths[TARN_PLACEMENT_NODES_MAX];
  uint64_t most = 0;
  resolved->is_measured = true;
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    const int32_t index = tarn__topology_index(topology, resolved->nodes[i]);
    bandwidths[i] = topology->nodes[index].info.bandwidth_mib_per_s;
    if (bandwidths[i] > most) most = bandwidths[i];
    if (bandwidths[i] == 0) resolved->is_measured = false;
  }
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    const double share = resolved->is_measured ? (double)bandwidths[i] / (double)most : 1;
    const uint32_t weight = (uint32_t)(share * MEASURED_WEIGHT_MAX + 0.5);
    resolved->weights[i] = weight > 0 ? weight : 1;
  }
}

static tarn_status cut_in_stripes(const tarn_placement *placement, size_t size_bytes,
                                  tarn_placement_resolved *resolved) {
  resolved->mode = TARN_PLACEMENT_MODE_STRIPES;
  const uint32_t divisor = divisor_of_all(resolved->weights, resolved->node_count);
  for (int32_t i = 0; i < resolved->node_count; ++i) resolved->weights[i] /= divisor;
  if (tarn__placement_choose_stripe(resolved, placement->stripe_bytes, size_bytes)) return TARN_OK;
  return tarn_fail(TARN_TOO_LARGE, "stripes of %zu bytes by these weights overflow",
                   placement->stripe_bytes);
}

static tarn_status resolve_kind(const tarn_topology *topology, const tarn_placement *placement,
                                size_t size_bytes, tarn_placement_resolved *resolved) {
  const bool is_strict = (placement->flags & TARN_PLACEMENT_STRICT) != 0;
  tarn_status status = TARN_OK;
  resolved->mode = is_strict ? TARN_PLACEMENT_MODE_BIND : TARN_PLACEMENT_MODE_PREFER;
  resolved->node_count = 1;
  switch (placement->kind) {
    case TARN_PLACEMENT_DEFAULT:
      resolved->mode = TARN_PLACEMENT_MODE_NONE;
      resolved->node_count = 0;
      return TARN_OK;
    case TARN_PLACEMENT_NODE:
      resolved->nodes[0] = placement->nodes[0];
      return TARN_OK;
    case TARN_PLACEMENT_NEAR_DEVICE:
      return find_device(topology, placement, &resolved->nodes[0]);
    case TARN_PLACEMENT_NEAR_THREAD:
      return tarn_topology_node_here(topology, &resolved->nodes[0]);
    case TARN_PLACEMENT_ATTRIBUTE:
      return find_best(topology, placement, resolved);
    case TARN_PLACEMENT_INTERLEAVE:
    case TARN_PLACEMENT_WEIGHTED:
    case TARN_PLACEMENT_ORDERED:
      break;
  }
  status = take_nodes(topology, placement, resolved);
  if (status != TARN_OK || resolved->node_count == 1) return status;
  if (placement->kind == TARN_PLACEMENT_ORDERED) {
    resolved->mode = TARN_PLACEMENT_MODE_ORDER;
    return TARN_OK;
  }
  if (placement->kind == TARN_PLACEMENT_INTERLEAVE) {
    if (!is_strict && placement->stripe_bytes == 0) {
      resolved->mode = TARN_PLACEMENT_MODE_INTERLEAVE;
      return TARN_OK;
    }
    for (int32_t i = 0; i < resolved->node_count; ++i) resolved->weights[i] = 1;
  } else if (placement->weights[0] == 0) {
    measure_weights(topology, resolved);
  } else {
    memcpy(resolved->weights, placement->weights, sizeof resolved->weights);
  }
  return cut_in_stripes(placement, size_bytes, resolved);
}

tarn_status tarn_placement_resolve(const tarn_topology *topology, const tarn_placement *placement,
                                   size_t size_bytes, tarn_placement_resolved *resolved) {
  if (resolved == NULL || resolved->struct_size != sizeof *resolved) {
    return tarn_fail(TARN_INVALID_ARGUMENT,
                     "a tarn_placement_resolved with struct_size %zu is needed", sizeof *resolved);
  }
  const tarn_placement_resolved nothing = {.struct_size = sizeof *resolved};
  *resolved = nothing;
  if (topology == NULL || placement == NULL) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "a topology and a placement are needed");
  }
  tarn_placement_resolved made = nothing;
  tarn_status status = check(topology, placement, &made.page_bytes);
  if (status != TARN_OK) return status;
  made.flags = placement->flags;
  status = resolve_kind(topology, placement, size_bytes, &made);
  if (status == TARN_OK) *resolved = made;
  return status;
}
