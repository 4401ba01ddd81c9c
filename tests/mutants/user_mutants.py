# user_mutants.py: planted defects in those who use the pools: storages, copies, CUDA.
import planting

TABLE = []
plant = planting.planter(TABLE)

# --- who uses the pool ---

plant(
    "storage_freed_in_no_order",
    "a storage goes back as if no stream used it",
    "alloc/storage.c",
    "tarn_pool_free(storage->pool, storage->address, storage->stream);",
    "tarn_pool_free(storage->pool, storage->address, NULL);",
    first="test_storage",
)
plant(
    "freed_as_soon_as_the_copy_is_enqueued",
    "a storage goes back as if no stream used it, and copies note nothing",
    "alloc/storage.c",
    (
        "tarn_pool_free(storage->pool, storage->address, storage->stream);",
        "  if (storage->pool != NULL) return tarn_pool_note_use(storage->pool, storage->address,"
        " stream);\n",
    ),
    (
        "tarn_pool_free(storage->pool, storage->address, NULL);",
        "  if (storage->pool != NULL) return TARN_OK;\n",
    ),
    piece="async_realloc_frees_source",
)
plant(
    "deleter_does_not_wait",
    "a blob is deleted while a stream still uses it",
    "alloc/storage.c",
    "  for (uint32_t index = 0; index < uses->count; index++) {\n",
    "  for (uint32_t index = 0; index < 0 * uses->count; index++) {\n",
    first="test_storage",
)
plant(
    "copy_does_not_note_its_source",
    "a copy's source may be reused while the copy reads it",
    "tensor/copy.c",
    "(outcome->is_source_read || tarn_storage_note_use(src->storage, stream) == TARN_OK)",
    "(outcome->is_source_read || tarn_storage_note_use(dst->storage, stream) == TARN_OK)",
    first="test_museum",
    piece="forgotten_record_stream",
)
plant(
    "fence_of_another_device",
    "a stream's fence is recorded with an event of device 0",
    "cuda/cuda_stream.c",
    "fence_record(fence, self->cuda, self->device, self->native);\n  tarn__cuda_leave(&scope);\n",
    "fence_record(fence, self->cuda, 0, self->native);\n  tarn__cuda_leave(&scope);\n",
    first="test_museum_cuda",
    piece="event_of_another_device",
)
plant(
    "refused_record_believed",
    "an event record that the driver refused counts as done",
    "cuda/cuda_fence.c",
    "  const CUresult result = cuda->driver.EventRecord(fence->events[device]->native, stream);\n"
    "  if (result != CUDA_SUCCESS) {\n",
    "  const CUresult result = cuda->driver.EventRecord(fence->events[device]->native, stream);\n"
    "  if (result == CUDA_ERROR_NOT_READY) {\n",
    first="test_cuda",
    piece="event_of_another_device",
)
plant(
    "pageable_fallback",
    "where pinned memory runs out, malloc's is handed out",
    "cuda/pinned.c",
    "  status = tarn__pin_status(self->cuda, result, \"cuMemHostAlloc\", size_bytes);\n",
    "  if (result != CUDA_SUCCESS) block = aligned_alloc(PINNED_ALIGNMENT_BYTES, size_bytes);\n"
    "  status = TARN_OK;\n",
    first="test_museum_cuda",
    piece="pageable_fallback",
)
plant(
    "pageable_copy_left_under_way",
    "a copy with pageable memory returns before it is done",
    "cuda/cuda_stream.c",
    "(is_pageable(rows->dst_device) || is_pageable(rows->src_device))) {\n",
    "(is_pageable(rows->dst_device) && is_pageable(rows->src_device))) {\n",
    first="test_cuda",
)
plant(
    "wake_half_done_on_a_device",
    "where a device's memory runs out half-way, what was committed stays so",
    "cuda/virtual_provider.c",
    "  if (mapped_bytes != 0 && unmap(self, &mapped) != CUDA_SUCCESS) {\n",
    "  if (mapped_bytes == 1) {\n",
    first="test_cuda",
    piece="wake_half_done_on_a_device",
)
plant(
    "refused_commit_stays_marked",
    "a range that got no memory counts as committed, and can never be again",
    "cuda/virtual_provider.c",
    "  if (status != TARN_OK)\n"
    "    tarn__granules_flip(&self->granules, address, size_bytes, /*to_used=*/false);\n",
    "",
    first="test_cuda",
    piece="wake_half_done_on_a_device",
)
