# driver_pool_mutants.py: planted defects in the driver's own pool behind the seam.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "capture_loses_what_the_drivers_pool_keeps",
    "a block used in a capture goes back to the driver while the graph still runs",
    "cuda/driver_pool_free.c",
    "  if (tarn__pool_block_capture(block) == 0) return false;\n",
    "  if (tarn_stream_capture(block->stream) == 0) return false;\n",
    first="test_cuda",
)
plant(
    "use_in_a_past_capture_forgotten_too_soon",
    "a block noted in a capture is kept as long as its stream is captured, not as the graph lives",
    "cuda/pool_blocks.c",
    "return !tarn_capture_is_destroyed(noted) ? noted"
    " : noted == 0 ? tarn_stream_capture(stream) : 0;",
    "return tarn_stream_capture(stream) + (noted - noted);",
    first="test_cuda",
)
plant(
    "pending_fence_recorded_too_seldom",
    "what was freed behind a stream counts as over as soon as an earlier free there is",
    "cuda/pool_pending.c",
    "    one->latest = made->latest;\n",
    "    before = made->latest;\n",
    first="test_cuda",
)
plant(
    "frees_at_one_time_in_one_record",
    "of two threads that free at one time the fence of either stands for both",
    "cuda/pool_pending.c",
    " || one->number > begun)) one = one->next;",
    ")) one = one->next;\n  (void)begun;",
    first="test_cuda",
)
plant(
    "who_has_no_memory_waits_for_no_looker",
    "what another thread waits for is not pending to the next one that has no memory",
    "cuda/pool_pending.c",
    "while (self->is_looking && may_wait)",
    "while (self->is_looking && may_wait && self->never_waits)",
    first="test_cuda",
)
plant(
    "passed_frees_unseen_by_the_driver",
    "a trim gives nothing back of what has passed without a wait for its stream",
    "cuda/pool_pending.c",
    "return status == TARN_OK ? tarn__cuda_fence_synchronize(fence) == TARN_OK\n",
    "return status == TARN_OK ? true\n",
    first="test_cuda",
)
plant(
    "chunk_stays_without_a_charge",
    "what the driver reserves beyond the budget stays reserved",
    "cuda/driver_pool_lend.c",
    "result == CUDA_SUCCESS && !tarn__driver_pool_settle(self)",
    "result == CUDA_SUCCESS && !tarn__driver_pool_settle(self) && self == NULL",
    first="test_cuda",
)
