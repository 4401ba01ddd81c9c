# heap_mutants.py: planted defects in blocks, their trees and the sums over them.
import planting

TABLE = []
plant = planting.planter(TABLE)

# --- alloc/heap.c: blocks, trees, sums ---

plant(
    "chunk_left_in_bin",
    "a block that is lent stays in its tree",
    "alloc/heap.c",
    "  tarn__tree_remove(block);\n  block->state = TARN__BLOCK_CLAIMED;\n}\n\n/* May two",
    "  block->state = TARN__BLOCK_CLAIMED;\n}\n\n/* May two",
    first="test_heap",
    piece="chunk_left_in_bin",
)
plant(
    "rest_of_a_cut_lost",
    "what is over after a cut stands in no tree",
    "alloc/heap.c",
    "if (rest != NULL) tarn__heap_put_free(heap, rest);",
    "(void)rest;",
    first="test_heap",
)
plant(
    "alignment_forgotten",
    "a block is cut at its start whatever alignment was asked for",
    "alloc/heap.c",
    "  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED);\n"
    "  const size_t lead = lead_bytes(block, alignment_bytes);\n",
    "  TARN_ASSERT(block->state == TARN__BLOCK_CLAIMED);\n"
    "  const size_t lead = alignment_bytes - alignment_bytes;\n",
    first="test_heap",
)
plant(
    "requested_bytes_drift",
    "a free does not take back what was asked for",
    "alloc/heap.c",
    "  heap->requested_bytes -= block->requested_bytes;\n",
    "",
    first="test_museum",
    piece="used_bytes_drift",
)
plant(
    "allocated_bytes_drift",
    "a free takes back what was asked for instead of what was lent",
    "alloc/heap.c",
    "  heap->allocated_bytes -= block->size_bytes;\n",
    "  heap->allocated_bytes -= block->requested_bytes;\n",
    first="test_heap",
    piece="used_bytes_drift",
)
plant(
    "claimed_neighbour_joined",
    "a free block is joined with one that another thread works on",
    "alloc/heap.c",
    "if (neighbour == NULL || neighbour->state != TARN__BLOCK_FREE) return false;",
    "if (neighbour == NULL || (neighbour->state != TARN__BLOCK_FREE &&\n"
    "                            neighbour->state != TARN__BLOCK_CLAIMED)) return false;",
    first="test_museum",
    piece="lock_split_loses_a_block",
)
plant(
    "pending_block_found_as_usable",
    "the search does not look at stamps",
    "alloc/heap.c",
    "    if (tarn__stamps_are_covered(&block->stamps, stream)) {\n      if (is_better",
    "    if (stream != NULL || block != NULL) {\n      if (is_better",
    first="test_heap",
)
plant(
    "pending_block_found_by_alignment",
    "the search by alignment does not look at stamps",
    "alloc/heap.c",
    "if (fits && tarn__stamps_are_covered(&block->stamps, stream) && is_better(block, best)) {",
    "if (fits && (stream != NULL || is_better(block, best))) {",
    first="test_caching_corners",
)
plant(
    "stamps_forgotten_by_lending",
    "a block that was lent by a wait and never used forgets who wrote it",
    "alloc/heap.c",
    "  if (block == NULL) return NULL;\n  tarn__stamps_prune(&block->stamps);\n",
    "  if (block == NULL) return NULL;\n  tarn__stamps_clear(&block->stamps);\n",
    first="test_caching_pool",
)
plant(
    "byte_behind_a_block_is_its_own",
    "the address just behind a block counts as inside",
    "alloc/heap.c",
    "(const char *)address < block->address + block->size_bytes ? block : NULL;",
    "(const char *)address <= block->address + block->size_bytes ? block : NULL;",
    first="test_heap",
)
plant(
    "double_free_not_seen",
    "a free of an address that is not lent takes the block in front of it",
    "alloc/heap.c",
    "return block != NULL && block->address == (const char *)address ? block : NULL;",
    "return block;",
    first="test_museum",
    piece="double_release",
)
plant(
    "trim_joins_pending_blocks",
    "trim makes idle memory wait for its neighbours' users",
    "alloc/heap.c",
    "return block->stamps.count == 0 || (!clean_only && !tarn__stamps_are_held(&block->stamps));",
    "return clean_only || !tarn__stamps_are_held(&block->stamps);",
    first="test_caching_pool",
)
plant(
    "pending_bytes_not_active",
    "freed memory that a stream still uses is not counted as active",
    "alloc/heap.c",
    "block->state == TARN__BLOCK_FREE && !tarn__stamps_are_covered(&block->stamps, NULL);",
    "block->state != TARN__BLOCK_FREE && !tarn__stamps_are_covered(&block->stamps, NULL);",
    first="test_caching_pool",
)
