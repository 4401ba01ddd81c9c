# pinned_mutants.py: planted defects in page-locked memory of other providers.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "copies_run_over_seams",
    "a copy from one registration into the next is one call",
    "cuda/cuda_stream.c",
    "    const size_t piece_bytes = smaller(size_bytes - done, room_at(self, to, from));\n",
    "    const size_t piece_bytes = size_bytes - done;\n    (void)room_at;\n",
    first="test_cuda",
)
plant(
    "rectangles_end_behind_the_seam",
    "the row that a seam cuts still belongs to the rectangle before it",
    "cuda/cuda_stream.c",
    "  if (room_bytes < rows->row_bytes) return 0;\n",
    "  if (room_bytes < rows->row_bytes) return 1;\n",
    first="test_cuda",
)
plant(
    "half_a_commit_stays_registered",
    "what a failed commit had registered by then is forgotten",
    "cuda/host_register.c",
    "      cuda->driver.MemHostUnregister((char *)range->address + done);\n",
    "",
    first="test_cuda",
)
plant(
    "half_a_decommit_is_not_taken_back",
    "what a failed decommit had unregistered by then stays so",
    "cuda/host_register.c",
    "      if (register_piece(cuda, range, done) == CUDA_SUCCESS) {\n",
    "      if (done == 1) {\n",
    first="test_cuda",
)
plant(
    "pages_returned_while_registered",
    "a range's pages go back to the host before they are unregistered",
    "cuda/pinned.c",
    "  const tarn_status status = unregister_range(self, range);\n",
    "  const tarn_status status = self == NULL ? unregister_range(self, range) : TARN_OK;\n",
    first="test_cuda",
)
plant(
    "blob_never_unpinned",
    "a wrapped blob goes back to its owner pinned",
    "cuda/pin.c",
    "  tarn_cuda_pin_destroy(self->pin);\n  if (self->deleter",
    "  if (self->deleter",
    first="test_cuda",
)
plant(
    "large_block_up_to_an_eighth_too_large",
    "a request above 1 MiB is served by a kept block that is pages too large",
    "alloc/magazine_fast.h",
    "size_bytes <= TARN__LOOSE_BYTES_MAX);\n",
    "size_bytes <= SIZE_MAX);\n",
    first="test_cuda",
)
plant(
    "driver_asked_in_a_child",
    "a child of fork asks the driver, whose threads and locks it has not",
    "cuda/cuda_device.c",
    "  if (!tarn__cuda_is_left_behind(cuda)) return TARN_OK;\n",
    "  if (cuda != NULL) return TARN_OK;\n",
    first="test_cuda",
)
