# blob_mutants.py: planted defects in the ways in and out for others' memory.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "part_behind_the_end_is_mapped",
    "a part that begins in the file and ends behind it is mapped, and touching it is a SIGBUS",
    "alloc/mapping.c",
    "      options->size_bytes > file_bytes - options->offset_bytes) {",
    "      options->size_bytes > file_bytes) {",
    first="test_mapping",
)
plant(
    "sealed_in_name_alone",
    "a file that may not grow counts as one that may not shrink",
    "alloc/mapping.c",
    "(seals & F_SEAL_SHRINK) != 0;",
    "seals != 0;",
    first="test_mapping",
)
plant(
    "mapped_file_stays_open",
    "a mapped file stays open when its storage is gone",
    "alloc/mapping.c",
    "  if (self->descriptor >= 0) close(self->descriptor);\n  free(self);",
    "  free(self);",
    first="test_mapping",
)
plant(
    "gap_between_mappings_is_not_seen",
    "addresses count as mapped where something further up is",
    "alloc/extent.c",
    "  if (found->start > self->at || found->rights[0] != 'r') {",
    "  if (found->rights[0] != 'r') {",
    first="test_mapping",
)
plant(
    "short_write_begins_its_run_anew",
    "after a short write the run that it stopped in is written from its beginning",
    "tensor/iovec.c",
    "  size_t skipped_bytes = (size_t)(walk->done_bytes % walk->run_bytes);",
    "  size_t skipped_bytes = 0;",
    first="test_iovec",
)
plant(
    "entries_before_the_stream_is_done",
    "a tensor is handed to writev while the stream still writes it",
    "tensor/iovec.c",
    "  if (status == TARN_OK) status = tarn_stream_synchronize(stream);",
    "  (void)stream;",
    first="test_iovec",
)
plant(
    "upside_down_rows_leave_the_memory",
    "an image upside down is checked at its first row alone",
    "tensor/image.c",
    "  const uintptr_t lowest = address - (uintptr_t)front;",
    "  const uintptr_t lowest = image->memory_bytes != 0 ? address : address - (uintptr_t)front;",
    first="test_image",
)
plant(
    "middle_of_pinned_memory_believed",
    "page-locked memory is asked about at its two ends",
    "cuda/pointer.c",
    "    const uintptr_t next = end_of_range(&info, at);",
    "    const uintptr_t next = 0;",
    first="test_cuda",
)
plant(
    "claimed_kind_of_device_is_enough",
    "memory of one GPU passes for another's",
    "cuda/pointer.c",
    "  if (claimed.type == 0 || tarn_device_equal(claimed, found)) return TARN_OK;",
    "  if (claimed.type == 0 || claimed.type == found.type) return TARN_OK;",
    first="test_cuda",
)
