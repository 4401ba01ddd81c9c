# size_mutants.py: planted defects in what pools tell of the sizes of their blocks.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "size_told_as_rounded",
    "a block is as large as the pool has made it, so that a realloc copies what nobody wrote",
    "alloc/caching_pool.c",
    "    *size_bytes = atomic_load_explicit(&block->requested_bytes, memory_order_relaxed);\n",
    "    *size_bytes = block->size_bytes;\n",
    first="test_pool_conformance",
)
plant(
    "paused_block_has_no_size",
    "while its memory is away, a block is not known",
    "alloc/caching_pool.c",
    "  if (block == NULL) block = tarn__heap_paused_at(&self->heap, address);\n"
    "  /* Relaxed: whoever was lent the block has seen that happen. */\n",
    "",
    first="test_pause",
)
plant(
    "size_of_what_lies_inside",
    "an address inside a block of the driver's pool is told the block's size",
    "cuda/driver_pool_free.c",
    "  if (block != NULL && block->address == address) *size_bytes = block->requested_bytes;\n",
    "  if (block != NULL) *size_bytes = block->requested_bytes;\n",
    first="test_pool_conformance",
)
