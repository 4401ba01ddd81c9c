# transpose_mutants.py: planted defects in turned planes and in the threads that share a copy.
import planting

TABLE = []
plant = planting.planter(TABLE)

LANES = "tensor/copy_transpose_lanes.h"

plant(
    "last_block_reaches_too_far",
    "the last block of rows does not reach back, but beyond the edge",
    LANES,
    "    if (r > last_row) r = last_row;\n",
    "",
    first="test_copy_transpose",
)
plant(
    "ragged_row_left_out",
    "a packed tile forgets the rows behind its last whole block",
    LANES,
    "    const int row_count = at_most_int(count, tile->row_count - r);\n",
    "    const int row_count = tile->row_count - r < count ? 0 : count;\n",
    first="test_copy_transpose",
)
plant(
    "edge_written_as_a_whole_block",
    "fewer columns than a vector has are written as a whole one",
    LANES,
    "if (row_count == count && byte_count == VEC_BYTES) {",
    "if (row_count == count && byte_count > 0) {",
    first="test_copy_transpose",
)
plant(
    "rows_beyond_the_edge_written",
    "all rows of a block are written, whether the plane has them or not",
    LANES,
    "if (row_count == count && byte_count == VEC_BYTES) {",
    "if (row_count > 0 && byte_count == VEC_BYTES) {",
    first="test_copy_transpose",
)
plant(
    "carried_line_lost",
    "the end of a tile that is not a whole line is not kept for the next tile",
    LANES,
    "    memcpy(carried, row + at, LINE_BYTES);\n",
    "    (void)carried;\n",
    first="test_copy_transpose",
)
plant(
    "head_of_a_row_streamed_whole",
    "the line in which a row starts is written from its beginning",
    LANES,
    "  if (lead != 0 && is_first) {",
    "  if (lead > LINE_BYTES && is_first) {",
    first="test_copy_transpose",
)
plant(
    "strip_of_rows_skipped",
    "the walk ends with the first strip",
    "tensor/copy_transpose.c",
    "if (at->strip_end == plane->row_count) return false;",
    "if (at->strip_end > 0) return false;",
    first="test_copy_transpose",
)
plant(
    "caller_leaves_helpers_behind",
    "a shared copy ends before its helpers have",
    "tensor/copy_threads.c",
    "  while (self->joined_count > 0) pthread_cond_wait(&self->left, &self->lock);\n",
    "",
    first="test_copy_threads",
)
plant(
    "team_taken_twice",
    "a caller takes the helpers from another one's copy",
    "tensor/copy_threads.c",
    "  bool is_mine = self->work == NULL;",
    "  bool is_mine = self->helper_count >= 0;",
    first="test_copy_threads",
)
plant(
    "child_waits_for_helpers",
    "after fork the helpers of the parent are still counted",
    "tensor/copy_threads.c",
    "  the_team.helper_count = the_team.wanted_count = the_team.joined_count = 0;\n",
    "  the_team.wanted_count = the_team.joined_count = 0;\n",
    first="test_copy_threads",
)
