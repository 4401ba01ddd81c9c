/* placement_apply.c: the caller's own range: refused where strictness would end the process. */

#include "numa/kernel.h"
#include "numa/placement.h"
#include "numa/topology.h"

/* What of the range each node gets at most; of ORDER no node in particular gets anything. */
static void share_out(const tarn_placement_resolved *resolved, uintptr_t address, size_t size_bytes,
                      size_t *shares) {
  if (resolved->mode != TARN_PLACEMENT_MODE_STRIPES) {
    shares[0] = size_bytes;
    return;
  }
  while (size_bytes > 0) {
    const tarn__stripe stripe = tarn__placement_stripe(resolved, address, size_bytes);
    shares[stripe.index] += stripe.size_bytes;
    address += stripe.size_bytes;
    size_bytes -= stripe.size_bytes;
  }
}

/* Pages that are there already need no room. */
static void leave_out_what_is_there(const tarn_placement_resolved *resolved, const void *address,
                                    size_t size_bytes, size_t *shares) {
  tarn_placement_pages placed = {.struct_size = sizeof placed};
  if (tarn_placement_verify(address, size_bytes, &placed) != TARN_OK) return;
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    for (int32_t j = 0; j < placed.node_count; ++j) {
      if (placed.nodes[j] != resolved->nodes[i]) continue;
      size_t *share = &shares[resolved->mode == TARN_PLACEMENT_MODE_ORDER ? 0 : i];
      const size_t there_bytes = placed.node_pages[j] * placed.page_bytes;
      *share -= there_bytes < *share ? there_bytes : *share;
    }
  }
}

/* A kernel that does not tell what is free lets everything pass. */
static tarn_status check_room(const tarn_topology *topology,
                              const tarn_placement_resolved *resolved, const size_t *shares) {
  size_t rooms_bytes[TARN_PLACEMENT_NODES_MAX];
  size_t left_bytes;
  if (!tarn__topology_rooms(topology, resolved->nodes, resolved->node_count, rooms_bytes,
                            &left_bytes)) {
    return TARN_OK;
  }
  size_t needed_bytes = 0;
  size_t free_bytes = 0;
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    if (resolved->mode != TARN_PLACEMENT_MODE_ORDER && shares[i] > rooms_bytes[i]) {
      return tarn_fail(TARN_OUT_OF_MEMORY, "node %d has %zu bytes free, %zu are to be bound to it",
                       resolved->nodes[i], rooms_bytes[i], shares[i]);
    }
    needed_bytes += shares[i];
    free_bytes += rooms_bytes[i];
  }
  if (needed_bytes > free_bytes) {
    return tarn_fail(TARN_OUT_OF_MEMORY, "the %d nodes have %zu bytes free, %zu are to be bound",
                     resolved->node_count, free_bytes, needed_bytes);
  }
  if (needed_bytes > left_bytes) {
    return tarn_fail(TARN_OUT_OF_MEMORY,
                     "the control group has %zu bytes left of its limit, %zu are to be bound",
                     left_bytes, needed_bytes);
  }
  return TARN_OK;
}

static tarn_status refuse_overflow(const tarn_topology *topology,
                                   const tarn_placement_resolved *resolved, const void *address,
                                   size_t size_bytes) {
  const uint32_t checked = resolved->flags & (TARN_PLACEMENT_STRICT | TARN_PLACEMENT_UNCHECKED);
  if (checked != TARN_PLACEMENT_STRICT || !topology->is_this_machine) return TARN_OK;
  size_t shares[TARN_PLACEMENT_NODES_MAX] = {0};
  share_out(resolved, (uintptr_t)address, size_bytes, shares);
  if (check_room(topology, resolved, shares) == TARN_OK) return TARN_OK;
  leave_out_what_is_there(resolved, address, size_bytes, shares);
  return check_room(topology, resolved, shares);
}

tarn_status tarn_placement_apply(const tarn_topology *topology, const tarn_placement *placement,
                                 void *address, size_t size_bytes,
                                 tarn_placement_granted *granted) {
  if (granted != NULL) {
    if (granted->struct_size != sizeof *granted) {
      return tarn_fail(TARN_INVALID_ARGUMENT,
                       "tarn_placement_granted has %zu bytes here, %zu were given", sizeof *granted,
                       granted->struct_size);
    }
    *granted = (tarn_placement_granted){.struct_size = sizeof *granted};
  }
  tarn_placement_resolved resolved = {.struct_size = sizeof resolved};
  tarn_status status = tarn_placement_resolve(topology, placement, size_bytes, &resolved);
  if (status == TARN_OK) status = refuse_overflow(topology, &resolved, address, size_bytes);
  if (status != TARN_OK) return status;
  if (resolved.mode == TARN_PLACEMENT_MODE_NONE && topology->is_this_machine) {
    (void)tarn__kernel_bind(address, size_bytes, MPOL_DEFAULT, NULL, 0);
  }
  return tarn__placement_bind(topology, &resolved, /*room_bytes=*/NULL, address, size_bytes,
                              granted);
}
