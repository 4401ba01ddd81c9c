# ort_mutants.py: planted defects in the adapter for ONNX Runtime.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "late_failure_frees_twice",
    "a runtime that fails after it gave the data back is taken for one that did not",
    "alloc/adapters/ort/ort_value.c",
    "  if (!was_freed) end_owner(owner);\n",
    "  end_owner(owner);\n",
    first="test_ort_value",
)
plant(
    "value_holds_nothing",
    "a value does not hold the storage that it gives back",
    "alloc/adapters/ort/ort_value.c",
    "  tarn_storage_retain(tensor->storage);\n",
    "",
    first="test_ort_value",
)
plant(
    "freed_at_once",
    "the runtime's free does not wait for the stream",
    "alloc/adapters/ort/ort_allocator.c",
    "tarn_pool_free(of(self)->pool, address, of(self)->stream)",
    "tarn_pool_free(of(self)->pool, address, NULL)",
    first="test_ort_allocator",
)
plant(
    "any_stream_will_do",
    "memory is handed to a stream that the allocator was not made for",
    "alloc/adapters/ort/ort_allocator.c",
    "  if (native != allocator->native_stream) {\n",
    "  if (false) {\n",
    first="test_ort_allocator",
)
plant(
    "old_runtimes_get_new_members",
    "an allocator says its newest version whatever the runtime's is",
    "alloc/adapters/ort/ort_allocator.c",
    "  abi->version = version;\n",
    "  abi->version = ORT_ABI_NEWEST;\n",
    first="test_ort_allocator",
)
plant(
    "refused_registration_is_kept",
    "a registration that the runtime refused keeps its reference",
    "alloc/adapters/ort/ort_allocator.c",
    "  if (status != TARN_OK) tarn_ort_allocator_release(allocator);\n",
    "",
    first="test_ort_allocator",
)
