# magazine_mutants.py: planted defects in what a thread keeps, and who may look at it.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "kept_block_to_the_wrong_stream",
    "a thread's next allocation takes what it freed on another stream",
    "alloc/magazine_fast.h",
    "  if (!tarn__is_common(recent->lane == tarn__magazine_lane(magazine, face))) {\n",
    "  if (!tarn__is_common(recent->lane != NULL)) {\n",
    first="test_magazine",
)
plant(
    "kept_block_has_no_stamp",
    "what a thread kept goes back to the heap as if no stream used it",
    "alloc/magazine_fast.h",
    "    block->stamps.few[0] = stamp;\n"
    "    block->stamps.count = 1;\n",
    "    block->stamps.count = 0;\n",
    first="test_museum",
    piece="arena_thread_exit",
)
plant(
    "kept_block_has_an_old_stamp",
    "a block freed a second time on its stream keeps the stamp of the first time",
    "alloc/magazine_fast.h",
    "    block->stamps.few[0] = stamp;\n",
    "    if (block->stamps.count == 0) block->stamps.few[0] = stamp;\n",
    first="test_caching_programs",
)
plant(
    "other_users_forgotten_by_keeping",
    "a block that another stream uses, too, is kept for one",
    "alloc/magazine_fast.h",
    "  return stamps->capacity == 0 && stamps->count == 1 && stamps->few[0].slot == slot;\n",
    "  return stamps->capacity == 0 && stamps->count <= 2 && slot == slot;\n",
    first="test_caching_pool",
)
plant(
    "double_free_of_a_kept_block",
    "a block that the thread keeps is freed into its lane once more",
    "alloc/magazine_fast.h",
    "  if (!tarn__is_common(requested_bytes != 0)) return false; /* it is kept already */\n"
    "  tarn__lane *kept = tarn__magazine_lane(magazine, face);\n"
    "  /* This one comes on top",
    "  tarn__lane *kept = tarn__magazine_lane(magazine, face);\n"
    "  /* This one comes on top",
    first="test_magazine",
    piece="double_release",
)
plant(
    "double_free_of_a_block_kept_elsewhere",
    "a block that another thread keeps is freed once more, with the lock",
    "alloc/caching_pool.c",
    "  if (block == NULL || !tarn__block_is_lent(block)) {\n",
    "  if (block == NULL) {\n",
    first="test_magazine",
)
plant(
    "magazine_not_emptied_at_thread_exit",
    "what a thread kept is lost when it ends",
    "alloc/magazine_threads.c",
    "  tarn__magazine_note_peaks(self);\n"
    "  tarn__magazine_drain(magazine);\n",
    "  tarn__magazine_note_peaks(self);\n",
    first="test_magazine",
    piece="arena_thread_exit",
)
plant(
    "counts_lost_at_thread_exit",
    "a thread's allocations are not counted any more when it has ended",
    "alloc/magazine_threads.c",
    "  tarn__magazine_count(magazine, &self->stats.alloc_count, &self->stats.free_count);\n",
    "",
    first="test_magazine",
)
plant(
    "smaller_block_from_the_same_bin",
    "a bin holds several sizes, and any of them is handed out",
    "alloc/magazine_fast.h",
    "  const size_t more_bytes = block->size_bytes - size_bytes;",
    "  const size_t more_bytes =\n"
    "      block->size_bytes > size_bytes ? block->size_bytes - size_bytes : 0;",
    first="test_magazine",
    piece="bin_changed_between_alloc_and_free",
)
plant(
    "magazine_of_another_pool",
    "two pools share what a thread keeps, whatever memory they are over",
    "alloc/magazine_threads.c",
    "  return found != NULL && found->pool_id == self->id ? found : NULL;\n",
    "  return found;\n",
    first="test_magazine",
    piece="pinned_block_from_the_wrong_node",
)
plant(
    "kept_bytes_counted_as_allocated",
    "what threads keep counts as lent out",
    "alloc/magazine.c",
    "    sum.kept_bytes += tarn__load_size(&each->kept_bytes);\n",
    "",
    first="test_magazine",
)
plant(
    "kept_bytes_not_active",
    "what threads keep of a busy stream's is not counted as active",
    "alloc/magazine.c",
    "      pending += lane_pending_bytes(kept);\n",
    "      pending += 0 * lane_pending_bytes(kept);\n",
    first="test_magazine",
)
plant(
    "peak_of_the_fast_path_missed",
    "what a thread took out of its magazine between two looks is in no peak",
    "alloc/magazine_fast.h",
    "  if (!tarn__is_common(kept_bytes >= magazine->kept_bytes_low)) {\n"
    "    magazine->kept_bytes_low = kept_bytes;\n"
    "  }\n",
    "",
    first="test_caching_corners",
)
plant(
    "block_freed_last_forgotten",
    "a magazine is emptied of all but the block that was freed last",
    "alloc/magazine.c",
    "  tarn__magazine_settle(magazine);\n  bool may_go_on",
    "  bool may_go_on",
    first="test_magazine",
)
plant(
    "kept_memory_taken_too_early",
    "what a thread keeps is taken from it though the pool may grow without waste",
    "alloc/caching_tiers.c",
    "  if (is_short || !is_host || !is_much) {\n",
    "  if (is_short || !is_host || is_much) {\n",
    first="test_magazine",
)
plant(
    "more_gathered_than_enough",
    "a thread loses all that it keeps where a part of it would have done",
    "alloc/magazine.c",
    "if (what->enough_bytes != 0 && block->size_bytes >= what->enough_bytes) return false;",
    "if (what->enough_bytes != 0 && block->size_bytes > SIZE_MAX / 2) return false;",
    first="test_magazine",
)
plant(
    "large_blocks_of_a_stream_kept",
    "a large block that a thread keeps is not joined with its free neighbours",
    "alloc/magazine_state.h",
    "         recent->block->size_bytes > TARN__KEPT_BYTES_OF_STREAM;\n",
    "         recent->block->size_bytes > SIZE_MAX - 1;\n",
    first="test_magazine",
)
plant(
    "large_block_freed_last_not_looked_at",
    "an allocation is placed as if the large block that was freed last were in use",
    "alloc/caching_pool.c",
    "  tarn__magazine_give_large(self);\n  void *found",
    "  void *found",
    first="test_magazine",
)
plant(
    "granules_not_packed",
    "a thread keeps large blocks of memory that is packed by granules",
    "alloc/magazine.c",
    "  return is_packing ? TARN__KEPT_BYTES_OF_STREAM : SIZE_MAX;\n",
    "  return is_packing ? SIZE_MAX : SIZE_MAX;\n",
    first="test_magazine",
)
plant(
    "any_large_block_set_aside",
    "what lies in the way of its neighbours is kept where it lies",
    "alloc/magazine.c",
    "  magazine->lent_large = NULL;\n  if (magazine->aside",
    "  if (magazine->aside",
    first="test_magazine_aside",
)
plant(
    "block_set_aside_for_any_size",
    "a block that is set aside serves what the heap would have cut elsewhere",
    "alloc/magazine_fast.h",
    "  if (block->size_bytes - requested_bytes >= TARN__HEAP_GRANULE_BYTES) return false;\n",
    "  if (block->size_bytes < requested_bytes) return false;\n",
    first="test_magazine_aside",
)
plant(
    "block_set_aside_not_taken_back",
    "a block that is set aside is an island in what its neighbours leave",
    "alloc/caching_pool.c",
    "  tarn__magazine_give_large(self);\n  if (magazine != NULL",
    "  if (magazine != NULL",
    first="test_magazine_aside",
)
plant(
    "blocks_set_aside_count_as_needed",
    "the pool grows where another thread has set aside as much",
    "alloc/caching_recycle.c",
    "self->heap.allocated_bytes - tarn__magazines_aside_bytes(self) + asked->size_bytes;",
    "self->heap.allocated_bytes + asked->size_bytes;",
    first="test_magazine_aside",
)
plant(
    "block_set_aside_freed_twice",
    "a block that a thread has set aside can be freed once more",
    "alloc/magazine_fast.h",
    "  if (!tarn__is_common(requested_bytes != 0)) return false; /* it is kept already */\n"
    "  tarn__lane *kept = tarn__magazine_lane(magazine, face);\n"
    "  if (!tarn__is_common(kept != &tarn__no_lane)) return false;\n",
    "  tarn__lane *kept = tarn__magazine_lane(magazine, face);\n"
    "  if (!tarn__is_common(kept != &tarn__no_lane)) return false;\n",
    first="test_magazine_aside",
)
plant(
    "kept_share_ignored",
    "a thread keeps whatever it frees",
    "alloc/magazine_fast.h",
    "  if (!tarn__is_common(kept_bytes - aside_bytes <= kept->kept_bytes_max)) return false;\n",
    "  (void)aside_bytes;\n",
    first="test_magazine",
)
plant(
    "peak_of_requests_missed",
    "what a thread lent out of its magazine between two looks is in no peak of requests",
    "alloc/magazine_fast.h",
    "    magazine->requested_bytes_high = sum_bytes;\n",
    "    magazine->requested_bytes_high += 0 * sum_bytes;\n",
    first="test_caching_corners",
)
plant(
    "served_calls_not_counted",
    "calls that a magazine served in a roundabout way are in no statistics",
    "alloc/magazine_fast.c",
    "(is_served ? TARN__TURN_SERVED : 0)",
    "(is_served ? 0 : 0)",
    first="test_magazine",
)
plant(
    "trim_leaves_what_threads_keep",
    "trim gives back nothing of what threads keep",
    "alloc/caching_pool.c",
    "  tarn__magazines_gather(self, /*least_bytes=*/0);\n  tarn__caching_observe_pending(self);\n",
    "  tarn__caching_observe_pending(self);\n",
    first="test_magazine",
)
plant(
    "tag_of_the_block_before",
    "a block out of a magazine has the tag of whoever had it before",
    "alloc/magazine_fast.h",
    "  if (!tarn__is_common(block->tag == magazine->tag)) block->tag = magazine->tag;\n",
    "",
    first="test_caching_corners",
)
plant(
    "magazine_emptied_under_its_thread",
    "whoever empties a magazine does not wait until its thread has left it",
    "alloc/magazine.c",
    "TARN__TURN_INSIDE) != 0) {",
    "TARN__TURN_INSIDE) > 1) {",
    first="test_magazine_closing",
)
plant(
    "magazine_entered_though_closed",
    "a thread uses its magazine while it is being emptied",
    "alloc/magazine_fast.h",
    "  return atomic_load_explicit(&magazine->closed, memory_order_acquire) == 0;\n",
    "  return atomic_load_explicit(&magazine->closed, memory_order_acquire) < 1000;\n",
    first="test_magazine",
)
plant(
    "asymmetric_barrier_missing",
    "each side may read the other's flag before its own is seen",
    "alloc/magazine.c",
    "  tarn_barrier_heavy();\n",
    "",
    first="test_magazine_closing",
)
plant(
    "barrier_for_its_own_thread_only",
    "the other threads of the process do not pass a fence",
    "alloc/barrier.c",
    "  if (!was_registered() || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return;\n",
    "  if (was_registered() || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return;\n",
    first="test_barrier",
)
plant(
    "pool_not_ended_by_its_last_block",
    "a released pool whose last block comes back is never taken down",
    "alloc/caching_pool.c",
    "  if (ended != NULL) tarn_pool_end(ended);\n",
    "  (void)ended;\n",
    first="test_magazine",
)
plant(
    "address_stays_in_the_page_map",
    "an address that was given back is still found as lent",
    "alloc/page_map.c",
    "  atomic_store_explicit(&leaf->starts[at.leaf], NULL, memory_order_release);\n",
    "",
    first="test_page_map",
)
plant(
    "slab_list_of_another_thread",
    "a thread takes objects from a list that another thread works on",
    "alloc/slab.c",
    "  if (!is_own(place, thread) || place->free_list == NULL)"
    " return take_locked(slab, place, thread);\n",
    "  if (place->free_list == NULL) return take_locked(slab, place, thread);\n",
    first="test_slab",
)
plant(
    "slab_objects_lost_at_thread_exit",
    "what a thread kept of a slab is lost when it ends",
    "alloc/slab.c",
    "  while (place->free_list != NULL)"
    " push(&place->slab->free_list, pop(&place->free_list));\n",
    "  place->free_list = NULL;\n",
    first="test_slab",
)
