# pause_mutants.py: planted defects in pools that go without their memory for a while.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "pause_waits_for_nobody",
    "memory goes while streams still work on it",
    "alloc/caching_pause.c",
    "    tarn_status status = wait_for_streams(self->op->self, may_wait);\n",
    "    tarn_status status = may_wait ? TARN_OK : wait_for_streams(self->op->self, false);\n",
    first="test_pause",
)
plant(
    "pause_takes_a_neighbours_granule",
    "a granule goes though a block of another tag has a part of it",
    "alloc/caching_pause.c",
    "      if (!is_chosen(self, block)) return false;\n",
    "      if (!is_chosen(self, block)) return true;\n",
    first="test_pause",
)
plant(
    "pause_leaves_blocks_to_the_fast_path",
    "a thread keeps a paused block that it frees, and lends it again",
    "alloc/heap_paused.c",
    "  tarn__page_map_clear(&heap->starts, block);\n",
    "",
    first="test_pause",
)
plant(
    "pause_undoes_without_contents",
    "a pause that fails gives memory back without what was in it",
    "alloc/caching_pause.c",
    "  status = tarn__pausing_copy(op, /*to_backup=*/false);\n",
    "  status = TARN_OK;\n",
    first="test_pause_failures",
)
plant(
    "resume_takes_memory_that_is_written",
    "a resume that fails unmaps what a copy may still be writing to",
    "alloc/caching_resume.c",
    "  if (op->unsure == NULL) {",
    "  if (true) {",
    first="test_pause_failures",
)
