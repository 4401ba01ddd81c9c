# magazine_mutants.py: planted defects in what a thread keeps, and who may look at it.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "kept_block_to_the_wrong_stream",
    "a thread's next allocation takes what it freed on another stream",
    "alloc/magazine.c",
    "  lane *kept = magazine->lane_of[tarn__stream_lane(stream)];\n"
    "  if (is_common(kept != NULL",
    "  lane *kept = magazine->lane_of[tarn__stream_lane(stream)] ? magazine->lanes : NULL;\n"
    "  if (is_common(kept != NULL",
    first="test_magazine",
)
plant(
    "kept_block_has_no_stamp",
    "what a thread kept goes back to the heap as if no stream used it",
    "alloc/magazine.c",
    "    block->stamps.few[0] = tarn__stream_stamp(stream);\n    block->stamps.count = 1;\n",
    "    block->stamps.count = 0;\n",
    first="test_museum",
    piece="arena_thread_exit",
)
plant(
    "kept_block_has_an_old_stamp",
    "a block freed a second time on its stream keeps the stamp of the first time",
    "alloc/magazine.c",
    "    block->stamps.few[0] = tarn__stream_stamp(stream);\n",
    "    if (block->stamps.count == 0) block->stamps.few[0] = tarn__stream_stamp(stream);\n",
    first="test_magazine",
)
plant(
    "other_users_forgotten_by_keeping",
    "a block that another stream uses, too, is kept for one",
    "alloc/magazine.c",
    "  return stamps->capacity == 0 && stamps->count == 1 && stamps->few[0].slot == slot;\n",
    "  return stamps->capacity == 0 && stamps->count <= 2 && slot == slot;\n",
    first="test_magazine",
)
plant(
    "double_free_of_a_kept_block",
    "a block that the thread keeps is freed into its lane once more",
    "alloc/magazine.c",
    "  if (block == NULL || atomic_load_explicit(&block->is_kept, memory_order_relaxed))"
    " return false;\n",
    "  if (block == NULL) return false;\n",
    first="test_magazine",
    piece="double_release",
)
plant(
    "double_free_of_a_block_kept_elsewhere",
    "a block that another thread keeps is freed once more, with the lock",
    "alloc/caching_pool.c",
    "  return block != NULL && !atomic_load_explicit(&block->is_kept, memory_order_relaxed);\n",
    "  return block != NULL;\n",
    first="test_magazine",
)
plant(
    "magazine_not_emptied_at_thread_exit",
    "what a thread kept is lost when it ends",
    "alloc/magazine.c",
    "  tarn__magazine_note_peaks(self);\n  drain(magazine, 0);\n",
    "  tarn__magazine_note_peaks(self);\n",
    first="test_magazine",
    piece="arena_thread_exit",
)
plant(
    "counts_lost_at_thread_exit",
    "a thread's allocations are not counted any more when it has ended",
    "alloc/magazine.c",
    "  self->stats.alloc_count += magazine->alloc_count;\n",
    "",
    first="test_magazine",
)
plant(
    "smaller_block_from_the_same_bin",
    "a bin holds several sizes, and any of them is handed out",
    "alloc/magazine.c",
    "      if (found_bytes >= size_bytes && found_bytes <= most_bytes) return link;\n",
    "      if (found_bytes <= most_bytes) return link;\n",
    first="test_magazine",
    piece="bin_changed_between_alloc_and_free",
)
plant(
    "magazine_of_another_pool",
    "two pools share what a thread keeps, whatever memory they are over",
    "alloc/magazine.c",
    "  if (*place != NULL && (*place)->pool_id == self->id) return *place;\n",
    "  if (*place != NULL) return *place;\n",
    first="test_magazine",
    piece="pinned_block_from_the_wrong_node",
)
plant(
    "kept_bytes_counted_as_allocated",
    "what threads keep counts as lent out",
    "alloc/magazine.c",
    "    sum.kept_bytes += load_size(&each->kept_bytes);\n",
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
    "alloc/magazine.c",
    "  if (kept_bytes < magazine->kept_bytes_low) magazine->kept_bytes_low = kept_bytes;\n",
    "",
    first="test_magazine",
)
plant(
    "trim_leaves_what_threads_keep",
    "trim gives back nothing of what threads keep",
    "alloc/caching_pool.c",
    "  tarn__magazines_gather(self);\n  tarn__caching_observe_pending(self);\n",
    "  tarn__caching_observe_pending(self);\n",
    first="test_magazine",
)
plant(
    "tag_of_the_block_before",
    "a block out of a magazine has the tag of whoever had it before",
    "alloc/magazine.c",
    "  block->tag = magazine->tag;\n",
    "",
    first="test_tag",
)
plant(
    "magazine_emptied_under_its_thread",
    "whoever empties a magazine does not wait until its thread has left it",
    "alloc/magazine.c",
    "while (atomic_load_explicit(&each->is_busy, memory_order_acquire) != 0) sched_yield();",
    "while (atomic_load_explicit(&each->is_busy, memory_order_acquire) > 1) sched_yield();",
    first="test_magazine_closing",
)
plant(
    "magazine_entered_though_closed",
    "a thread uses its magazine while it is being emptied",
    "alloc/magazine.c",
    "  return is_common(closed == 0) || enter_fenced(magazine);\n",
    "  return is_common(closed < 1000) || enter_fenced(magazine);\n",
    first="test_magazine",
)
plant(
    "asymmetric_barrier_missing",
    "each side may read the other's flag before its own is seen",
    "alloc/magazine.c",
    "  tarn__barrier_heavy();\n",
    "",
    first="test_magazine_closing",
)
plant(
    "barrier_for_its_own_thread_only",
    "the other threads of the process do not pass a fence",
    "alloc/barrier.c",
    "  if (tarn__barrier_is_one_sided() && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) {\n",
    "  if (!tarn__barrier_is_one_sided() && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) {\n",
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
