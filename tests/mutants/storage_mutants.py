# storage_mutants.py: planted defects in storages that grow in place.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "trimmed_under_a_stream",
    "granules go back while a stream that noted a use is still at work",
    "alloc/storage_reserve.c",
    "    if (status == TARN_OK) status = tarn__storage_wait_for_uses(storage);\n",
    "",
    first="test_storage_reserve",
)
plant(
    "waits_for_one_use_alone",
    "of several streams that noted a use only the first is waited for",
    "alloc/storage.c",
    "index < uses.count && status == TARN_OK; index++",
    "index < uses.count && index < 1 && status == TARN_OK; index++",
    first="test_storage_reserve",
)
plant(
    "size_before_memory",
    "a size is announced that has no memory yet, and perhaps never gets it",
    "alloc/storage_reserve.c",
    "    status = commit(self, whole_granules(self, size_bytes));\n",
    "    tarn__storage_set_size(storage, size_bytes);\n"
    "    status = commit(self, whole_granules(self, size_bytes));\n",
    first="test_storage_reserve",
)
plant(
    "charge_of_a_refused_commit_stays",
    "what the machine refused stays charged to the budget",
    "alloc/storage_reserve.c",
    "  if (status != TARN_OK && self->budget != NULL) tarn__budget_cancel(self->budget,"
    " size_bytes);\n",
    "",
    first="test_storage_reserve",
)
plant(
    "granule_half_in_use_given_back",
    "the granule that holds the last bytes goes back with those behind it",
    "alloc/storage_reserve.c",
    "  const size_t kept_bytes = whole_granules(self, tarn_storage_size_bytes(storage));\n",
    "  const size_t kept_bytes =\n"
    "      tarn_storage_size_bytes(storage) & ~(granularity_of(self) - 1);\n",
    first="test_storage_reserve",
)
plant(
    "two_changes_at_once",
    "a storage may be resized by two threads at a time",
    "alloc/storage_reserve.c",
    "  if (atomic_exchange_explicit(&self->is_changing, true, memory_order_acquire)) {\n",
    "  if (atomic_exchange_explicit(&self->is_changing, false, memory_order_acquire)) {\n",
    first="test_storage_reserve",
)
