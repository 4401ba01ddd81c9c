# pool_mutants.py: planted defects in what the caching pool does.
import planting

TABLE = []
plant = planting.planter(TABLE)

# --- alloc/caching_*.c: the pool ---

plant(
    "free_takes_no_stamp",
    "a freed block is clean, whatever its stream still does",
    "alloc/caching_pool.c",
    "const bool is_added = slot == TARN__HOST_SLOT || stamp_block(block, mark, keeper);",
    "const bool is_added = slot == TARN__HOST_SLOT || mark.ticket != 0;",
    first="test_museum",
    piece="arena_thread_exit",
)
plant(
    "note_use_ignored",
    "a noted stream is not waited for",
    "alloc/caching_pool.c",
    "const bool is_noted = is_known && note_block(block, stream);",
    "const bool is_noted = is_known && tarn__stamps_reserve(&block->stamps, 2);",
    first="test_museum",
    piece="forgotten_record_stream",
)
plant(
    "only_the_first_user_waited_for",
    "a block of several users is lent behind one of them",
    "alloc/caching_tiers.c",
    "  for (uint32_t index = 0; *status == TARN_OK && index < block->stamps.count; index++) {\n",
    "  for (uint32_t index = 0; *status == TARN_OK && index < 1 && block->stamps.count != 0;"
    " index++) {\n",
    first="test_caching_pool",
)
plant(
    "block_lost_by_a_failed_wait",
    "a block that could not be ordered stands in no tree",
    "alloc/caching_tiers.c",
    "  tarn__heap_put_free(&self->heap, block);\n  return NULL;\n",
    "  return NULL;\n",
    first="test_caching_pool",
    piece="lock_split_loses_a_block",
)
plant(
    "out_of_memory_while_others_hold_some",
    "memory that another thread has claimed is called missing",
    "alloc/caching_tiers.c",
    "    if (self->busy_count > 0) {\n",
    "    if (self->busy_count > 1000) {\n",
    first="test_museum",
    piece="lock_split_calls_claimed_memory_missing",
)
plant(
    "nobody_told_that_memory_is_back",
    "whoever waits for claimed memory waits for ever",
    "alloc/caching_pool.c",
    "  pthread_cond_broadcast(&self->settled);\n",
    "",
    first="test_museum",
    piece="lock_split_calls_claimed_memory_missing",
)
plant(
    "peak_not_kept",
    "the peak of reserved bytes goes down again",
    "alloc/caching_pool.c",
    "      larger(self->stats.reserved_bytes_peak, tarn__caching_reserved_bytes(self));\n",
    "      larger(0, tarn__caching_reserved_bytes(self));\n",
    first="test_caching_corners",
)
plant(
    "allocated_peak_not_kept",
    "the peak of allocated bytes goes down again",
    "alloc/magazine.c",
    "if (stats->allocated_bytes_peak < allocated_bytes) stats->",
    "stats->",
    first="test_caching_corners",
)
plant(
    "out_of_memory_not_counted",
    "a failure does not show in the statistics",
    "alloc/caching_explain.c",
    "  self->stats.out_of_memory_count++;\n",
    "",
    first="test_museum",
    piece="used_bytes_drift",
)
plant(
    "free_not_counted",
    "a free does not show in the statistics",
    "alloc/caching_pool.c",
    "  self->stats.free_count++;\n",
    "",
    first="test_magazine",
)
plant(
    "error_of_a_success_left_behind",
    "what was refused on the way to a success stays the last error",
    "alloc/caching_pool.c",
    "    tarn__error_restore(&before);\n",
    "    (void)before;\n",
    first="test_caching_pool",
)
plant(
    "destroyed_under_its_users",
    "a pool gives its memory back while streams still use it",
    "alloc/caching_pool.c",
    "  wait_for_users(self);\n",
    "  (void)wait_for_users;\n",
    first="test_caching_corners",
)
plant(
    "room_to_align_charged",
    "address space that an aligned block needs counts as memory against the limit",
    "alloc/caching_grow.c",
    "  const bool is_aligned = (self->machine->flags & TARN_PROVIDER_RESERVES) != 0 ||\n",
    "  const bool is_aligned = (self->machine->flags & TARN_PROVIDER_RESERVES) > 1000 ||\n",
    first="test_caching_corners",
)
plant(
    "limit_off_by_a_granule",
    "a budget lets more be used than its limit",
    "alloc/budget.c",
    "return budget->used_bytes < budget->limit_bytes"
    " ? budget->limit_bytes - budget->used_bytes : 0;",
    "return budget->used_bytes < budget->limit_bytes"
    " ? budget->limit_bytes - budget->used_bytes + (2 << 20) : 0;",
    first="test_budget",
)
plant(
    "growth_under_way_not_charged",
    "threads that grow at once exceed the limit together",
    "alloc/caching_grow.c",
    """\
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
  tarn__caching_return(self);
  if (status != TARN_OK) cancel_charge(self, size_bytes);
""",
    """\
  tarn_budget_pay_back(self->budget, size_bytes);
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
  tarn__caching_return(self);
  if (status == TARN_OK && tarn_budget_charge(self->budget, size_bytes) != TARN_OK) {
    tarn_budget_set_limit(self->budget, 0);
    (void)!tarn_budget_charge(self->budget, size_bytes);
  }
""",
    first="test_caching_corners",
)
plant(
    "failed_growth_stays_charged",
    "memory that the provider refused still counts against the limit",
    "alloc/caching_grow.c",
    """\
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
  tarn__caching_return(self);
  if (status != TARN_OK) cancel_charge(self, size_bytes);
""",
    """\
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
  tarn__caching_return(self);
""",
    first="test_caching_pool",
    piece="used_bytes_drift",
)
plant(
    "parent_not_charged",
    "what a pool reserves does not count in the budget above its own",
    "alloc/budget.c",
    "    for (tarn_budget *level = budget; level != NULL; level = level->parent) {\n",
    "    for (tarn_budget *level = budget; level == budget; level = level->parent) {\n",
    first="test_budget",
)
plant(
    "parent_not_paid_back",
    "what a pool gives back still counts in the budget above its own",
    "alloc/budget.c",
    "  for (; budget != NULL; budget = budget->parent) {\n    TARN_ASSERT",
    "  for (int level = 0; level < 1; level++) {\n    TARN_ASSERT",
    first="test_budget",
)
plant(
    "limit_of_the_parent_ignored",
    "a pool grows beyond the budget above its own",
    "alloc/budget.c",
    "  while (budget != NULL && room_bytes(budget) >= size_bytes) budget = budget->parent;\n"
    "  return budget;\n",
    "  return room_bytes(budget) >= size_bytes ? NULL : budget;\n",
    first="test_budget",
)
plant(
    "peak_of_a_budget_not_kept",
    "the peak of a budget follows what is used down again",
    "alloc/budget.c",
    "if (level->used_bytes_peak < level->used_bytes) level->used_bytes_peak = level->used_bytes;",
    "level->used_bytes_peak = level->used_bytes;",
    first="test_budget",
)
plant(
    "pressure_not_tried_again",
    "a pressure function gives memory, and nobody looks",
    "alloc/caching_tiers.c",
    "    if (!is_promised && !is_given) break;\n",
    "    if (is_promised || !is_given) break;\n",
    first="test_caching_budget",
)
plant(
    "floor_not_kept",
    "trim, decay and other pools' pressure take what the pool was told to keep",
    "alloc/caching_trim.c",
    ".floor_bytes = self->floor_bytes + self->heap.paused_bytes};",
    ".floor_bytes = self->heap.paused_bytes};",
    first="test_caching_budget",
)
plant(
    "floor_of_segments_not_kept",
    "a segment goes that reaches below what the pool was told to keep",
    "alloc/caching_trim.c",
    "plan->left_bytes - plan->floor_bytes >= block->size_bytes;",
    "plan->left_bytes - plan->floor_bytes > 0;",
    first="test_caching_decay",
)
plant(
    "run_misses_a_covered_ticket",
    "the search for runs takes the first ticket that needs a fence for covered",
    "alloc/heap.c",
    "  return stamp.ticket >= *uncovered;\n",
    "  return stamp.ticket > *uncovered;\n",
    first="test_caching_budget",
)
plant(
    "waits_for_the_wrong_unit",
    "reclaim waits for the most streams instead of the fewest",
    "alloc/caching_trim.c",
    "} else if (best.first == NULL || count < best_count ||",
    "} else if (best.first == NULL || count > best_count ||",
    first="test_caching_corners",
)
plant(
    "provider_called_under_the_lock",
    "nobody can use the pool while its provider is at work",
    "alloc/caching_grow.c",
    """\
  tarn__caching_leave(self);
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
  tarn__caching_return(self);
""",
    """\
  status = tarn_provider_alloc_ordered(self->provider, size_bytes, asked->stream, memory);
""",
    first="test_caching_corners",
)
plant(
    "stream_called_under_the_lock",
    "nobody can use the pool while a stream is made to wait",
    "alloc/caching_tiers.c",
    """\
  tarn__caching_leave(self);
  tarn__order_cost cost = {0};
  *status = TARN_OK;
  for (uint32_t index = 0; *status == TARN_OK && index < block->stamps.count; index++) {
    *status = tarn__order_behind(asked->stream, tarn__stamps_at(&block->stamps, index), &cost);
  }
  tarn__caching_return(self);
""",
    """\
  tarn__order_cost cost = {0};
  *status = TARN_OK;
  for (uint32_t index = 0; *status == TARN_OK && index < block->stamps.count; index++) {
    *status = tarn__order_behind(asked->stream, tarn__stamps_at(&block->stamps, index), &cost);
  }
""",
    first="test_caching_corners",
)
plant(
    "exact_size_not_tried",
    "a pool that cannot grow by its favourite size does not grow",
    "alloc/caching_grow.c",
    "if (*status == TARN_OUT_OF_MEMORY && size_bytes > exact_bytes) {",
    "if (*status == TARN_OUT_OF_MEMORY && size_bytes > exact_bytes && exact_bytes == 0) {",
    first="test_museum",
    piece="pool_cannot_reach_max",
)
plant(
    "stamp_of_an_ordered_upstream_missing",
    "memory from a pool below counts as clean",
    "alloc/caching_grow.c",
    "  stamp_fresh(self, asked, block);\n",
    "  (void)stamp_fresh;\n",
    first="test_museum",
    piece="expand_hole",
)
plant(
    "growth_joined_with_pending_memory",
    "a block grown in place starts in memory that another stream still uses",
    "alloc/caching_grow.c",
    "  return block != NULL && block->state == TARN__BLOCK_FREE &&\n"
    "         tarn__stamps_are_covered(&block->stamps, stream);\n",
    "  return block != NULL && block->state == TARN__BLOCK_FREE && (stream == NULL || stream);\n",
    first="test_caching_corners",
)
plant(
    "block_lost_by_a_failed_growth",
    "a free block that a failed growth had claimed stands in no tree",
    "alloc/caching_grow.c",
    "    } else {\n      tarn__heap_put_free(&self->heap, block);\n    }\n    block = right;\n",
    "    }\n    block = right;\n",
    first="test_caching_pool",
    piece="wake_half_done",
)
plant(
    "gap_ends_at_a_free_block",
    "free memory between two holes is not joined with what they get",
    "alloc/caching_grow.c",
    "  return !asked->is_ahead && is_usable(block, asked->stream);\n",
    "  return !asked->is_ahead && is_usable(block, asked->stream) && block->left == block;\n",
    first="test_caching_recycle",
)
plant(
    "idle_memory_claimed_for_nothing",
    "what a growth leaves of a free block counts as used until it is done",
    "alloc/caching_grow.c",
    "  cut_ends(self, plan);\n  return true;\n",
    "  return true;\n",
    first="test_caching_recycle",
)
plant(
    "memory_believed_though_refused",
    "a hole that got no memory is lent out",
    "alloc/caching_grow.c",
    "  if (*status != TARN_OK) {\n    abandon_growth(self, &plan);\n    return NULL;\n  }\n",
    "  (void)abandon_growth;\n",
    first="test_museum",
    piece="wake_half_done",
)
plant(
    "trim_gives_back_pending_memory",
    "memory that a stream still uses goes back to the machine",
    "alloc/caching_trim.c",
    "      if (block->stamps.count != 0) continue;\n",
    "",
    first="test_caching_pool",
)
plant(
    "live_neighbour_decommitted",
    "the granule that a free block shares with a live one goes back to the machine",
    "alloc/caching_trim.c",
    "  uintptr_t end = ((uintptr_t)block->address + block->size_bytes) & ~(granule - 1);\n",
    "  uintptr_t end = ((uintptr_t)block->address + block->size_bytes + granule - 1) &"
    " ~(granule - 1);\n",
    first="test_caching_move",
)
plant(
    "budget_not_paid_back",
    "memory given back still counts against the limit",
    "alloc/caching_trim.c",
    "    if (status == TARN_OK || !reserves) {\n      tarn_budget_pay_back(",
    "    if (!reserves) {\n      tarn_budget_pay_back(",
    first="test_museum",
)
plant(
    "hole_counted_as_reserved",
    "memory given back is still told as reserved",
    "alloc/caching_trim.c",
    "  self->heap.reserved_bytes -= block->size_bytes;\n",
    "",
    first="test_caching_move",
)
plant(
    "trim_keeps_nothing",
    "trim gives back what it was told to keep",
    "alloc/caching_trim.c",
    "      if (plan.left_bytes <= plan.keep_bytes) return chain;\n",
    "      plan.keep_bytes = 0;\n",
    first="test_caching_pool",
)
plant(
    "segment_released_around_a_live_block",
    "a segment goes back to the machine when one block in it is free",
    "alloc/caching_trim.c",
    "const bool is_whole = block->size_bytes == block->segment->size_bytes;",
    "const bool is_whole = block->size_bytes <= block->segment->size_bytes;",
    first="test_caching_pool",
)
plant(
    "decay_forgets_the_worst_moment",
    "what was needed for a moment in a window is given back in it",
    "alloc/caching_decay.c",
    "    if (decay->lowest[slice] < lowest) lowest = decay->lowest[slice];\n",
    "    if (decay->lowest[slice] > lowest) lowest = decay->lowest[slice];\n",
    first="test_caching_decay",
)
plant(
    "decay_goes_back_in_time",
    "a clock that steps back counts as a long time",
    "alloc/caching_decay.c",
    "if (now_ns < decay->start_ns || now_ns - decay->start_ns < slice_ns) return TARN_OK;",
    "if (now_ns - decay->start_ns < slice_ns) return TARN_OK;",
    first="test_caching_decay",
)
plant(
    "refused_decommit_counted_as_released",
    "memory that the machine did not take back is taken for a hole",
    "alloc/caching_trim.c",
    "    if (reserves && status == TARN_OK) {\n",
    "    if (reserves) {\n",
    first="test_museum",
    piece="double_release",
)
plant(
    "tag_not_taken",
    "a block does not say under which tag it was lent",
    "alloc/caching_pool.c",
    "  lent->tag = tarn__tag_current;\n",
    "",
    first="test_caching_explain",
)
plant(
    "tag_of_the_neighbour",
    "a report sums what is free under the tags of its last owners",
    "alloc/caching_explain.c",
    "      if (!is_lent) continue;\n"
    "      tarn__tag_sums_add(&sums, block->tag, block->size_bytes);\n",
    "      tarn__tag_sums_add(&sums, block->tag, block->size_bytes);\n",
    first="test_caching_explain",
)
plant(
    "trace_forgets_the_wrong_end",
    "a full ring is written from one entry too far on",
    "alloc/pool_trace.c",
    "(trace->recorded_count - copy->count) % trace->capacity",
    "(trace->recorded_count - copy->count + 1) % trace->capacity",
    first="test_pool_trace",
)
plant(
    "decay_looks_at_the_last_slice_only",
    "what was needed earlier in the window goes back",
    "alloc/caching_decay.c",
    "  if (self->decay.lowest_now > spare) self->decay.lowest_now = spare;\n",
    "  (void)spare;\n",
    first="test_caching_decay",
)
plant(
    "reserved_ahead_is_recycled",
    "memory that was reserved up front goes back for a growth elsewhere",
    "alloc/caching_recycle.c",
    "  if (keep_bytes < ahead_bytes) keep_bytes = ahead_bytes;\n",
    "",
    first="test_caching_corners",
)
plant(
    "late_threads_are_refused",
    "a thread that others are faster than is refused, although what is live would fit",
    "alloc/caching_tiers.c",
    "LOSSES_MAX = 1000 };",
    "LOSSES_MAX = 16 };",
    first="test_caching_budget",
)
