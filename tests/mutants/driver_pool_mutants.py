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
    "waiting_for_a_captured_stream",
    "who has no memory waits for a stream that is captured, and breaks the capture",
    "cuda/pool_pending.c",
    "  if (!is_captured(self, one->native)) {\n",
    "  if (!is_captured(self, NULL)) {\n",
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
