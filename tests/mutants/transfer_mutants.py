# transfer_mutants.py: planted defects in copies with a device: which way they go, and what for.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "batch_takes_pageable_memory",
    "pageable memory is handed to a batch, which waits for nothing",
    "alloc/stream_copy.c",
    "         !is_pageable(spans[leading].dst_device, spans[leading].src_device)) {",
    "         spans[leading].dst != NULL) {",
    first="test_stream_copy",
)
plant(
    "planes_of_half_rows",
    "a pitch of planes that is no whole number of rows goes to the driver rounded down",
    "cuda/cuda_copy.c",
    "  return plane_pitch % side->row_pitch == 0 && *height >= planes->rows.row_count;",
    "  return *height >= planes->rows.row_count;",
    first="test_cuda",
)
plant(
    "batch_crosses_a_seam",
    "a copy in a batch reaches from one page-locked memory into the next",
    "cuda/cuda_copy.c",
    "  const size_t size_bytes = smaller(span->size_bytes - done, room);",
    "  const size_t size_bytes = smaller(span->size_bytes - done, room + SIZE_MAX / 2);",
    first="test_cuda",
)
plant(
    "source_of_a_direct_copy_is_free",
    "a copy that is still under way says that its source was read",
    "tensor/copy_device.c",
    "  outcome->is_source_read = is_pageable;",
    "  outcome->is_source_read = true;",
    first="test_transfers",
)
plant(
    "refused_kernel_is_a_failure",
    "where the kernel refuses, no other way is tried",
    "tensor/copy_device.c",
    "    if (way != TARN_COPY_BY_KERNEL || status != TARN_NOT_SUPPORTED) return status;\n"
    "    estimates_ns[way] = UINT64_MAX;",
    "    return status;",
    first="test_copy_direct",
)
plant(
    "ring_converts_twice",
    "the CPU converts what the device converts once more",
    "tensor/copy_ring.c",
    "  tarn__copy_on_host(&to, &from, &same);",
    "  tarn__copy_on_host(&to, &from, self->element->convert != NULL ? self->element : &same);",
    first="test_copy_ring",
)
plant(
    "another_device_s_copy_comes_at_any_time",
    "the device that copies for a stream of another one does not wait for that stream",
    "cuda/cuda_stream.c",
    "  status = tarn__cuda_fence_wait(fence, cuda, other->native);\n",
    "",
    first="test_cuda_peer",
)
plant(
    "another_device_s_copy_is_not_waited_for",
    "a stream goes on before the device has copied that copies for it",
    "cuda/cuda_stream.c",
    "    const tarn_status joined = tarn__cuda_fence_wait(fence, self->cuda, self->native);\n",
    "    const tarn_status joined = TARN_OK;\n",
    first="test_cuda_peer",
)
