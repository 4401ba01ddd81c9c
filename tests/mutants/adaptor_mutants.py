# adaptor_mutants.py: planted defects in pools over pools.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "limit_pays_for_what_it_did_not_get",
    "an allocation that the upstream refused counts against the limit for ever",
    "alloc/adapters/pools/limit_pool.c",
    "  if (status != TARN_OK) pay_back(self, size_bytes);\n",
    "",
    first="test_limit_pool",
)
plant(
    "limit_lends_what_is_still_on_its_way_back",
    "the limit is exceeded while a free is under way",
    "alloc/adapters/pools/limit_pool.c",
    "  const tarn_status status = tarn__over_give_back(&self->over, block, stream);\n"
    "  if (status == TARN_OK) pay_back(self, size_bytes);\n",
    "  pay_back(self, size_bytes);\n"
    "  const tarn_status status = tarn__over_give_back(&self->over, block, stream);\n"
    "  if (status != TARN_OK) {\n"
    "    atomic_fetch_add_explicit(&self->charged_bytes, size_bytes, memory_order_relaxed);\n"
    "  }\n",
    first="test_limit_pool",
)
plant(
    "adaptor_forgets_a_block_that_stays_out",
    "a free that the upstream refuses takes the block from the adaptor all the same",
    "alloc/adapters/pools/over_pool.c",
    "  count_lent(self, block, stream);\n  self->stats.free_count--;\n",
    "",
    first="test_over_pool",
)
plant(
    "adaptor_knows_blocks_by_their_start_alone",
    "a use inside of a block is refused",
    "alloc/adapters/pools/lent_blocks.c",
    "(size_t)(inside - last->address) < last->size_bytes ?",
    "inside == last->address ?",
    first="test_lent_blocks",
)
plant(
    "lent_tree_loses_a_side",
    "of two blocks below one that goes, one is forgotten",
    "alloc/adapters/pools/lent_blocks.c",
    "  *place = lower != NULL ? lower : higher;\n",
    "  *place = lower;\n",
    first="test_lent_blocks",
)
plant(
    "prefetch_touches_what_a_stream_still_uses",
    "a block is touched before the stream's earlier work has passed",
    "alloc/adapters/pools/prefetch_pool.c",
    "  if (tarn_stream_is_synchronous(stream)) {\n",
    "  if (self->touches) {\n",
    first="test_prefetch_pool",
)
plant(
    "prefetch_keeps_its_job_to_itself",
    "the upstream lends a block again that a stream has yet to touch",
    "alloc/adapters/pools/prefetch_pool.c",
    "  if (tarn_pool_note_use(self->over.upstream, first, stream) == TARN_OK) return TARN_OK;\n"
    "  return tarn_stream_synchronize(stream);\n",
    "  return TARN_OK;\n",
    first="test_prefetch_pool",
)
plant(
    "log_tells_of_a_free_too_late",
    "an address is read to be lent out twice",
    "alloc/adapters/pools/logging_pool.c",
    "  write_line(self, 'f', address, size_bytes, stream);\n"
    "  const tarn_status status = tarn__over_give_back(&self->over, block, stream);\n",
    "  const tarn_status status = tarn__over_give_back(&self->over, block, stream);\n"
    "  write_line(self, 'f', address, size_bytes, stream);\n",
    first="test_logging_pool",
)
