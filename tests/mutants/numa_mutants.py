# numa_mutants.py: planted defects in node pools: their shadow, what threads keep, what goes back.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "kept_block_still_lent",
    "a block that a thread keeps can be freed again",
    "numa/front.h",
    "  tarn__slot_take(found->word, found->size_class);\n",
    "",
    first="test_node_pool",
)
plant(
    "use_of_kept_block_ignored",
    "a block that a stream still uses is kept for the host",
    "numa/front.h",
    "  const bool is_kept = found.requested_bytes != 0 && !found.is_used &&\n",
    "  const bool is_kept = found.requested_bytes != 0 &&\n",
    first="test_node_pool",
)
plant(
    "front_keeps_all",
    "a thread keeps as much as it frees",
    "numa/front.c",
    "    if (tarn__count_load(&front->kept_bytes) > front->kept_bytes_max) {\n"
    "      drain(front, front->kept_bytes_max / 2);\n"
    "    }\n",
    "",
    first="test_front",
)
plant(
    "fronts_looked_at_while_in_use",
    "whoever closes the fronts does not wait for a thread that is inside",
    "numa/front.c",
    "    while (atomic_load_explicit(&each->is_inside, memory_order_acquire)) sched_yield();\n",
    "    (void)atomic_load_explicit(&each->is_inside, memory_order_acquire);\n",
    first="test_front",
)
plant(
    "cache_of_jemallocs_not_emptied",
    "what jemalloc's own caches hold does not go back",
    "numa/front.c",
    "    drain(each, /*keep_bytes=*/0);\n    tarn__arena_cache_flush(each->cache);\n",
    "    drain(each, /*keep_bytes=*/0);\n",
    first="test_front",
)
plant(
    "peak_between_locks_lost",
    "a peak that a thread has reached alone is not seen",
    "numa/front.c",
    "  if ((ptrdiff_t)(high - front->allocated_high) > 0) front->allocated_high = high;\n",
    "  (void)high;\n",
    first="test_node_pool",
)
plant(
    "thread_takes_its_counts_along",
    "what a thread has allocated and freed is forgotten with it",
    "numa/front.c",
    "  drain(front, /*keep_bytes=*/0);\n"
    "  tarn__arena_cache_destroy(front->cache);\n"
    "  add_counts(front, &fronts->alloc_count, &fronts->free_count);\n",
    "  drain(front, /*keep_bytes=*/0);\n"
    "  tarn__arena_cache_destroy(front->cache);\n",
    first="test_front",
)
plant(
    "neighbour_found_for_a_gap",
    "an address behind a small block is taken for one inside",
    "numa/shadow.c",
    "  return address - start < tarn__class_bytes((unsigned)(word & TARN__PAGE_CLASS));\n",
    "  return word != 0 || address >= start;\n",
    first="test_shadow",
)
plant(
    "start_outlives_its_block",
    "a large block hides behind the start of one that is gone",
    "numa/shadow.c",
    "  atomic_fetch_and_explicit(&shadow->large_starts[page / 64], ~(UINT64_C(1) << page % 64),\n"
    "                            memory_order_release);\n",
    "",
    first="test_shadow",
)
plant(
    "any_address_frees_a_large_block",
    "a large block is freed by an address inside its first page",
    "numa/shadow.h",
    "    found.requested_bytes = is_start ? (size_t)(page >> TARN__PAGE_SIZE_SHIFT) : 0;\n",
    "    found.requested_bytes = is_start || page != 0 ? (size_t)(page >> 16) : 0;\n",
    first="test_shadow",
)
plant(
    "granule_decommitted_in_use",
    "a granule goes back while a block lies in another part of it",
    "numa/arena.c",
    "    if (left_one->used_bytes == 0) {\n",
    "    if (part > 0) {\n",
    first="test_arena",
)
plant(
    "nothing_taken_from_other_threads",
    "memory is out while other threads keep enough of it",
    "numa/node_pool.c",
    "  tarn__fronts_drain(&self->fronts);\n  tarn__fronts_open(&self->fronts);\n",
    "  tarn__fronts_open(&self->fronts);\n",
    first="test_node_pool",
)
plant(
    "window_ends_early",
    "memory that the window needs goes back before its end",
    "numa/node_pool.c",
    "                       now_ns - self->window_start_ns >= self->decay_ns;\n",
    "                       now_ns - self->window_start_ns >= self->decay_ns / 2;\n",
    first="test_node_pool",
)
plant(
    "held_block_counted_nowhere",
    "a block that waits for its stream is no part of the pool's active bytes",
    "numa/node_pool.c",
    "  stats->active_bytes = stats->allocated_bytes + tarn__count_load(&self->held_bytes);\n",
    "  stats->active_bytes = stats->allocated_bytes;\n",
    first="test_node_pool",
)
