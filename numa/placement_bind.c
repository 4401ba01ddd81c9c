/* placement_bind.c: tells the kernel, piece by piece, and reports what it agreed to. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "numa/kernel.h"
#include "numa/placement.h"
#include "numa/topology.h"

typedef struct binding {
  const tarn_topology *topology;
  const tarn_placement_resolved *resolved;
  tarn__node_set all;
  unsigned move_flags; /* MPOL_MF_* */
  bool is_strict;
  bool has_homes; /* the kernel looks beyond a full node in the order asked */
  tarn_placement_granted *granted;
} binding;

enum { SPARED_PART = 64 }; /* of a node's room, where nothing follows it */

static bool is_forbidden(int error) {
  return error == EPERM || error == ENOSYS;
}

static tarn_status fail_bind(const binding *self, const char *call, int error, void *address,
                             size_t size_bytes) {
  if (error == ENOMEM) {
    return tarn_fail_native(TARN_OUT_OF_MEMORY, call, error,
                            "binding %zu bytes at %p: no memory for the mapping, or more mappings "
                            "than vm.max_map_count",
                            size_bytes, address);
  }
  if (error == ENOSPC) {
    return tarn_fail(TARN_OUT_OF_MEMORY,
                     "the %d nodes from node %d on have no room for %zu bytes, cut between them",
                     self->resolved->node_count, self->resolved->nodes[0], size_bytes);
  }
  if (error == EIO) {
    return tarn_fail_native(TARN_BUSY, call, error,
                            "binding %zu bytes at %p: pages lie elsewhere already and stay there",
                            size_bytes, address);
  }
  const tarn_status status = error == EFAULT       ? TARN_INVALID_ARGUMENT
                             : is_forbidden(error) ? TARN_NOT_SUPPORTED
                                                   : TARN_SYSTEM_ERROR;
  return tarn_fail_native(
      status, call, error, "binding %zu bytes at %p to %d node(s), first %d: %s", size_bytes,
      address, self->resolved->node_count, self->resolved->nodes[0], strerror(error));
}

static int bind_to(const binding *self, int policy, int32_t index, void *address,
                   size_t size_bytes) {
  tarn__node_set only = {0};
  tarn__node_set_add(&only, self->resolved->nodes[index]);
  return tarn__kernel_bind(address, size_bytes, policy, &only, self->move_flags);
}

/* One node, and beyond it all of those asked, nearest to it first. Older kernels do not know that,
 * or not of huge pages: then the one node alone. */
static int bind_with_home(binding *self, int32_t index, void *address, size_t size_bytes) {
  if (self->has_homes) {
    int error =
        tarn__kernel_bind(address, size_bytes, self->is_strict ? MPOL_BIND : MPOL_PREFERRED_MANY,
                          &self->all, self->move_flags);
    if (error == 0) {
      error = tarn__kernel_set_home(address, size_bytes, self->resolved->nodes[index]);
      if (error == 0) return 0;
    }
    if (error != EINVAL && !is_forbidden(error)) return error;
  }
  self->granted->is_order_kept = false;
  return bind_to(self, self->is_strict ? MPOL_BIND : MPOL_PREFERRED, index, address, size_bytes);
}

static int bind_piece(binding *self, int32_t index, void *address, size_t size_bytes) {
  int error = 0;
  switch (self->resolved->mode) {
    case TARN_PLACEMENT_MODE_NONE:
      return 0;
    case TARN_PLACEMENT_MODE_BIND:
    case TARN_PLACEMENT_MODE_PREFER:
    case TARN_PLACEMENT_MODE_STRIPES:
      error =
          bind_to(self, self->is_strict ? MPOL_BIND : MPOL_PREFERRED, index, address, size_bytes);
      break;
    case TARN_PLACEMENT_MODE_INTERLEAVE:
      error = tarn__kernel_bind(address, size_bytes, MPOL_INTERLEAVE, &self->all, self->move_flags);
      break;
    case TARN_PLACEMENT_MODE_ORDER:
      error = bind_with_home(self, index, address, size_bytes);
      break;
  }
  if (error != 0) return error;
  ++self->granted->piece_count;
  if (self->resolved->mode != TARN_PLACEMENT_MODE_INTERLEAVE) {
    self->granted->node_bytes[index] += size_bytes;
  }
  return 0;
}

/* The piece for nodes[index] ends between two large pages, so that none has two nodes to lie on;
 * 0 where there is no room for one. The last node has all that is left. */
static size_t cut_by_room(const tarn_placement_resolved *resolved, int32_t index, size_t room_bytes,
                          uintptr_t address, size_t size_bytes) {
  if (index == resolved->node_count - 1 || room_bytes >= size_bytes) return size_bytes;
  const size_t step_bytes = resolved->page_bytes > TARN__PLACEMENT_HUGE_BYTES
                                ? resolved->page_bytes
                                : (size_t)TARN__PLACEMENT_HUGE_BYTES;
  const uintptr_t end = (address + room_bytes) & ~(uintptr_t)(step_bytes - 1);
  return end > address ? end - address : 0;
}

/* ORDER: whether the kernel's own order from the first node is the one that is asked. */
static bool order_is_by_distance(const tarn_topology *topology,
                                 const tarn_placement_resolved *resolved) {
  /* Linux's find_next_best_node adds 1 for lower numbers and 1 for nodes with processors. */
  enum { MAY_BE_SWAPPED = 2 };
  const int32_t from = tarn__topology_index(topology, resolved->nodes[0]);
  uint32_t last = 0;
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    const int32_t to = tarn__topology_index(topology, resolved->nodes[i]);
    const uint32_t distance = tarn__topology_distance(topology, from, to);
    if (i > 0 && (topology->distances == NULL || distance <= last + MAY_BE_SWAPPED)) return false;
    last = distance;
  }
  return true;
}

/* Of a kernel that does not tell, the first node is believed to have all that is asked. */
static void read_rooms(const binding *self, size_t *room_bytes) {
  size_t left_bytes;
  const int32_t count = self->resolved->node_count;
  if (tarn__topology_rooms(self->topology, self->resolved->nodes, count, room_bytes, &left_bytes)) {
    return;
  }
  for (int32_t i = 0; i < count; ++i) room_bytes[i] = SIZE_MAX;
}

static int bind_in_order(binding *self, const size_t *room_bytes, char *address,
                         size_t size_bytes) {
  if (self->has_homes && order_is_by_distance(self->topology, self->resolved)) {
    return bind_piece(self, 0, address, size_bytes);
  }
  size_t seen_bytes[TARN_PLACEMENT_NODES_MAX];
  if (room_bytes == NULL) {
    read_rooms(self, seen_bytes);
    room_bytes = seen_bytes;
  }
  /* Nothing follows a node that is full: touching more would end the process. */
  const bool has_to_fit = self->is_strict && !self->has_homes &&
                          (self->resolved->flags & TARN_PLACEMENT_UNCHECKED) == 0;
  for (int32_t i = 0; size_bytes > 0; ++i) {
    size_t node_bytes = room_bytes[i];
    if (has_to_fit) node_bytes -= node_bytes / SPARED_PART;
    const size_t piece_bytes =
        cut_by_room(self->resolved, i, node_bytes, (uintptr_t)address, size_bytes);
    if (has_to_fit && piece_bytes > node_bytes) return ENOSPC;
    if (piece_bytes == 0) continue;
    const int error = bind_piece(self, i, address, piece_bytes);
    if (error != 0) return error;
    address += piece_bytes;
    size_bytes -= piece_bytes;
  }
  return 0;
}

static int bind_in_stripes(binding *self, char *address, size_t size_bytes) {
  while (size_bytes > 0) {
    const tarn__stripe stripe =
        tarn__placement_stripe(self->resolved, (uintptr_t)address, size_bytes);
    const int error = bind_piece(self, stripe.index, address, stripe.size_bytes);
    if (error != 0) return error;
    address += stripe.size_bytes;
    size_bytes -= stripe.size_bytes;
  }
  return 0;
}

static tarn_status check_range(const tarn_topology *topology,
                               const tarn_placement_resolved *resolved, const void *address,
                               size_t size_bytes) {
  const size_t base_bytes = (size_t)sysconf(_SC_PAGESIZE);
  uintptr_t end;
  if (address == NULL || (uintptr_t)address % base_bytes != 0 || size_bytes % base_bytes != 0 ||
      __builtin_add_overflow((uintptr_t)address, size_bytes, &end)) {
    return tarn_fail(TARN_INVALID_ARGUMENT, "%zu bytes at %p are not whole pages of %zu",
                     size_bytes, address, base_bytes);
  }
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    const tarn_status status =
        tarn__topology_check_node(topology, resolved->nodes[i], /*info=*/NULL);
    if (status != TARN_OK) return status;
  }
  return TARN_OK;
}

tarn_status tarn__placement_bind(const tarn_topology *topology,
                                 const tarn_placement_resolved *resolved, const size_t *room_bytes,
                                 void *address, size_t size_bytes,
                                 tarn_placement_granted *granted) {
  tarn_placement_granted unseen;
  if (granted == NULL) granted = &unseen;
  *granted = (tarn_placement_granted){.struct_size = sizeof *granted, .resolved = *resolved};
  tarn_status status = check_range(topology, resolved, address, size_bytes);
  if (status != TARN_OK || resolved->mode == TARN_PLACEMENT_MODE_NONE || size_bytes == 0) {
    return status;
  }
  binding self = {.topology = topology,
                  .resolved = resolved,
                  .is_strict = (resolved->flags & TARN_PLACEMENT_STRICT) != 0,
                  .has_homes = tarn__kernel_homes_huge_pages(),
                  .granted = granted};
  if ((resolved->flags & TARN_PLACEMENT_MOVE) != 0) self.move_flags |= MPOL_MF_MOVE;
  if (self.is_strict) self.move_flags |= MPOL_MF_STRICT;
  for (int32_t i = 0; i < resolved->node_count; ++i) {
    tarn__node_set_add(&self.all, resolved->nodes[i]);
  }
  granted->is_order_kept = resolved->mode == TARN_PLACEMENT_MODE_ORDER;
  int error;
  if (resolved->mode == TARN_PLACEMENT_MODE_ORDER) {
    error = bind_in_order(&self, room_bytes, address, size_bytes);
  } else if (resolved->mode == TARN_PLACEMENT_MODE_STRIPES) {
    error = bind_in_stripes(&self, address, size_bytes);
  } else {
    error = bind_piece(&self, 0, address, size_bytes);
  }
  if (error == 0) {
    granted->is_bound = true;
    granted->is_strict = self.is_strict;
    return TARN_OK;
  }
  (void)tarn__kernel_bind(address, size_bytes, MPOL_DEFAULT, NULL, 0);
  *granted = (tarn_placement_granted){.struct_size = sizeof *granted, .resolved = *resolved};
  /* With one node, all memory is on it, whoever may bind. */
  const bool has_one_node = topology->node_count == 1;
  if (is_forbidden(error) && (has_one_node || !self.is_strict)) {
    granted->refused_code = error;
    granted->is_strict = self.is_strict;
    return TARN_OK;
  }
  return fail_bind(&self, "mbind", error, address, size_bytes);
}
