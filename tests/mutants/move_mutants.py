# move_mutants.py: planted defects in how idle memory comes to lie where it is needed.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "used_granules_moved",
    "memory moves, or goes back, while a stream may still use it",
    "alloc/caching_trim.c",
    "      if (block->stamps.count != 0) continue;\n",
    "",
    first="test_caching_move",
)
plant(
    "piece_cut",
    "a part of a piece is to go back without the rest",
    "alloc/heap.c",
    "  if (cuts_piece(heap, segment, *start)) *start = (*start + step - 1) & ~(step - 1);\n",
    "",
    first="test_caching_move",
)
plant(
    "failed_move_stays_charged",
    "what a failed move gave back counts for the limit for ever",
    "alloc/caching_move.c",
    "    if (status != TARN_OK) tarn_budget_pay_back(self->budget, block->size_bytes);\n",
    "",
    first="test_caching_move",
)
plant(
    "refused_move_ends_growth",
    "a provider that takes nothing back keeps a pool from growing",
    "alloc/caching_move.c",
    "  if (status == TARN_OK || !is_refused) return status;\n",
    "  if (!is_refused || self != NULL) return status;\n",
    first="test_caching_move",
)
plant(
    "moved_memory_given_back_too_late",
    "pieces that fit nowhere go back only after as much was made anew",
    "cuda/virtual_provider.c",
    "  give_surplus(self, to, from);\n",
    "  if (size_bytes == 0) give_surplus(self, to, from);\n",
    first="test_cuda",
)
plant(
    "failed_move_keeps_what_was_taken",
    "a move that fails forgets the memory it had taken and not used",
    "cuda/virtual_provider.c",
    "  give_some(self, &from->granules, from->granules.left_count);\n",
    "",
    first="test_cuda",
)
plant(
    "prepared_memory_outlives_its_provider",
    "what was made ahead is the device's loss when the provider goes",
    "cuda/virtual_provider.c",
    "    const tarn_status status = tarn__handles_prepare(&self->handles, 0);\n",
    "    const tarn_status status = TARN_OK;\n",
    first="test_cuda",
)
