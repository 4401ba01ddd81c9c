# staging_mutants.py: planted defects in the staging ring and in what goes through it.
import planting

TABLE = []
plant = planting.planter(TABLE)

# --- alloc/staging.c: slots ---

plant(
    "slot_lent_too_early",
    "a slot goes to the next copy while a stream still reads it",
    "alloc/staging.c",
    "  return !self->is_marked || tarn__order_is_seen(self->mark);",
    "  return !self->is_marked || self->address != NULL;",
    first="test_staging",
)
plant(
    "slot_without_a_fence_is_free",
    "where no fence could be recorded the slot is not waited for",
    "alloc/staging.c",
    "                                             : tarn__order_behind(NULL, self->mark, &cost);",
    "                             : cost.wait_count == 0 ? TARN_OK\n"
    "                                                    : TARN_DEVICE_ERROR;",
    first="test_staging",
)
plant(
    "second_stream_forgets_the_first",
    "a slot that two streams use waits for the later one alone",
    "alloc/staging.c",
    "  if (self->is_marked && self->mark.slot != reached.slot) {",
    "  if (self->is_marked && slot->address == NULL) {",
    first="test_staging",
)
# --- alloc/staging_copy.c, alloc/staging_file.c, alloc/stream.c: what goes through them ---

plant(
    "slot_read_before_it_is_filled",
    "what comes from the device is copied out at once",
    "alloc/staging_copy.c",
    "  if (status == TARN_OK) status = tarn_staging_await(slot);",
    "  if (status == TARN_OK && slot->address == NULL) status = tarn_staging_await(slot);",
    first="test_staging_copy",
)
plant(
    "file_slot_not_marked",
    "a slot of a file is filled again while the stream still reads it",
    "alloc/staging_file.c",
    "tarn_staging_mark(&slot, stream, ",
    "tarn_staging_mark(&slot, NULL, ",
    first="test_staging_file",
)
plant(
    "host_functions_not_waited_for",
    "the CPU reads a source that a host function of the stream is still to write",
    "alloc/stream.c",
    "  if (status == TARN_OK) note_call(stream);\n",
    "",
    first="test_staging_copy",
)
plant(
    "fence_forgets_host_functions",
    "a host function of another stream, waited for by a fence, is not waited for by the CPU",
    "alloc/stream.c",
    "  if (is_behind_call) atomic_store(&fence->is_behind_call, true);\n",
    "",
    first="test_staging_copy",
)

# --- tensor/copy_ring.c ---

plant(
    "pinned_source_read_too_early",
    "a strided source in pinned memory is packed before the stream has written it",
    "tensor/copy_ring.c",
    "  if (self.is_to_device && src->device.type != TARN_DEVICE_CPU) {",
    "  if (self.is_to_device && src->base == NULL) {",
    first="test_copy_ring",
)
plant(
    "piece_unpacked_too_early",
    "the CPU unpacks a piece that has not arrived",
    "tensor/copy_ring.c",
    "  if (status == TARN_OK) status = tarn_staging_await(&piece->slot);",
    "  if (status == TARN_OK) status = tarn_staging_mark(&piece->slot, NULL, 0);",
    first="test_copy_ring",
)
