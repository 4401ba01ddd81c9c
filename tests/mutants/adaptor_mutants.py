# adaptor_mutants.py: planted defects in pools over pools.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "limit_pays_for_what_it_did_not_get",
    "an allocation that the upstream refused counts against the limit for ever",
    "alloc/adapters/pools/over_pool.c",
    "  tarn__over_count_refusal(self, status);\n"
    "  tarn__over_pay_back(self, requested_bytes);\n",
    "  tarn__over_count_refusal(self, status);\n",
    first="test_limit_pool",
)
plant(
    "limit_lends_what_is_still_on_its_way_back",
    "the limit is exceeded while a free is under way",
    "alloc/adapters/pools/over_pool.c",
    "  const tarn_status status = tarn_pool_free(below, address, stream);\n",
    "  tarn__over_pay_back(self, requested_bytes);\n"
    "  const tarn_status status = tarn_pool_free(below, address, stream);\n"
    "  (void)tarn__over_charge(self, requested_bytes);\n",
    first="test_limit_pool",
)
plant(
    "adaptor_forgets_a_block_that_stays_out",
    "a free that the upstream refuses takes the block from the adaptor all the same",
    "alloc/adapters/pools/over_pool.c",
    "  atomic_store_explicit(taken->place, taken->record, memory_order_release);\n",
    "",
    first="test_over_pool",
)
plant(
    "adaptor_knows_blocks_by_their_start_alone",
    "a use inside of a block is refused",
    "alloc/adapters/pools/lent_map.c",
    "  return address - *start < tarn__lent_size(record) ? record : 0;\n",
    "  return address == *start ? record : 0;\n",
    first="test_lent_map",
)
plant(
    "lent_map_finds_no_far_end",
    "a use far behind the start of a large block is refused",
    "alloc/adapters/pools/lent_map.c",
    "    atomic_store_explicit(covering_at(middle, unit), address, memory_order_relaxed);\n",
    "",
    first="test_lent_map",
)
plant(
    "adaptor_outlives_its_last_block",
    "a released adaptor whose last block comes back is never destroyed",
    "alloc/adapters/pools/over_desk.c",
    "  if (tarn__over_is_common(before != TARN__OVER_CLOSING + size_bytes)) return;\n",
    "  if (before != TARN__OVER_CLOSING + size_bytes || size_bytes > 0) return;\n",
    first="test_over_pool",
)
plant(
    "credit_keeps_a_closed_pool",
    "what a thread freed before a pool was closed keeps the pool for ever",
    "alloc/adapters/pools/over_desk.c",
    "  } else if ((before & TARN__OVER_CLOSING) == 0) {\n    gather_for_good(self);\n  }\n",
    "  }\n",
    first="test_over_pool",
)
plant(
    "adaptor_that_has_ended_lends_all_the_same",
    "an adaptor is destroyed while a block of a late handle's is out",
    "alloc/adapters/pools/over_desk.c",
    "  if (!tarn__over_is_common(before != TARN__OVER_CLOSING)) reopen(self);\n",
    "  if (before == SIZE_MAX) reopen(self);\n",
    first="test_over_pool",
)
plant(
    "credit_gets_round_a_lower_limit",
    "a thread is lent what it freed before, whatever the limit is now",
    "alloc/adapters/pools/over_desk.c",
    "  if (is_lower) gather_for_good(self);\n",
    "  (void)is_lower;\n",
    first="test_limit_pool",
)
plant(
    "credit_is_its_threads_alone",
    "what another thread freed cannot be had within a limit",
    "alloc/adapters/pools/over_desk.c",
    "memory_order_relaxed)) {\n      gather_for_good(self);\n    }\n",
    "memory_order_relaxed)) {\n    }\n",
    first="test_limit_pool",
)
plant(
    "call_site_is_known_by_its_first_address",
    "blocks of one caller's two callers are told of as one's",
    "alloc/adapters/pools/call_sites.c",
    "    if (word_at(frame + one->offset) != one->return_address) return false;\n",
    "    if (index == 0 && word_at(frame + one->offset) != one->return_address) return false;\n",
    first="test_call_sites",
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
    "  status = tarn__over_give_back(&self->over, &taken, address, stream);\n",
    "  status = tarn__over_give_back(&self->over, &taken, address, stream);\n"
    "  write_line(self, 'f', address, size_bytes, stream);\n",
    first="test_logging_pool",
)
