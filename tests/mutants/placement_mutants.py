# placement_mutants.py: planted defects in topologies, and in where pages are placed.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "gpu_memory_taken_for_the_hosts",
    "the fastest node is a GPU's own memory, and host memory is taken from it",
    "numa/topology_best.c",
    "  if (info->memory_kind == TARN_MEMORY_GPU) return false;\n",
    "",
    first="test_topology_best",
)
plant(
    "untold_beats_told",
    "a node of which the firmware tells no latency counts as the one with the least",
    "numa/topology_best.c",
    "    if (value_a == 0 || value_b == 0) return value_a != 0 ? -1 : 1;\n",
    "",
    first="test_topology_best",
)
plant(
    "device_below_nothing_is_near_to_the_first_node",
    "a GPU of which the firmware says nothing is placed all the same",
    "numa/topology_near.c",
    "  if (nearest == NULL || is_anywhere) {\n",
    "  if (nearest == NULL) {\n",
    first="test_topology_near",
)
plant(
    "only_the_own_group_limits",
    "the limits of the groups above are not seen, and the kernel kills for them",
    "numa/memory_limit.c",
    "    if (length == top_length) break;\n",
    "    break;\n",
    first="test_topology_room",
)
plant(
    "lower_zones_count_whole",
    "what the kernel keeps back in lower zones counts as room",
    "numa/node_room.c",
    "  const size_t kept = self->high + self->protection;\n",
    "  const size_t kept = self->high;\n",
    first="test_topology_room",
)
plant(
    "stripes_by_offset",
    "whose turn it is follows from the part that is bound, not from the address",
    "numa/placement_stripes.c",
    "  size_t turn = address / resolved->stripe_bytes % sum_of_weights(resolved);\n",
    "  size_t turn = size_bytes / resolved->stripe_bytes % sum_of_weights(resolved);\n",
    first="test_placement_stripes",
)
plant(
    "order_left_to_the_kernel",
    "nodes that are not asked by distance are filled by distance all the same",
    "numa/placement_bind.c",
    "  if (self->has_homes && "
    "order_is_by_distance(self->topology, self->resolved)) {\n",
    "  if (self->resolved->node_count > 0) {\n",
    first="test_placement_bind",
)
plant(
    "half_bound_after_a_failure",
    "a bind that fails in the middle leaves the pieces that it made",
    "numa/placement_bind.c",
    "  (void)tarn__kernel_bind(address, size_bytes, MPOL_DEFAULT, NULL, 0);\n",
    "",
    first="test_placement_bind",
)
plant(
    "forbidden_bind_passes_for_strict",
    "where binds are forbidden a strict placement is granted",
    "numa/placement_bind.c",
    "  if (is_forbidden(error) && (has_one_node || !self.is_strict)) {\n",
    "  if (is_forbidden(error)) {\n",
    first="test_placement_bind",
)
plant(
    "limit_not_asked_before_a_strict_bind",
    "a strict bind over the control group's limit is granted, and touching it ends the process",
    "numa/placement_apply.c",
    "  if (needed_bytes > left_bytes) {\n",
    "  if (needed_bytes > left_bytes && left_bytes == 0) {\n",
    first="test_placement_bind",
)
