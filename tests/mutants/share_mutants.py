# share_mutants.py: planted defects in storages that several processes use.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "memory_reused_under_an_importer",
    "the exporter takes its memory back though another process still has it",
    "alloc/share.c",
    "if (parcel->is_destroyed && is_alone(parcel, /*timeout_ms=*/0)) {",
    "if (parcel->is_destroyed) {",
    first="test_share",
)
plant(
    "child_of_fork_keeps_parcels_alive",
    "a forked child keeps the end of the pipe, and the exporter waits for it",
    "alloc/share.c",
    "    close_end(&parcel->life);\n    close_end(&parcel->watch);\n    close_pieces",
    "    close_end(&parcel->watch);\n    close_pieces",
    first="test_share",
)
plant(
    "file_that_may_shrink_is_mapped",
    "a memory file is mapped that its owner can cut short, which is a SIGBUS",
    "alloc/share_file.c",
    "  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||",
    "  if (seals < 0 ||",
    first="test_share_wire",
)
plant(
    "bytes_beyond_the_pieces",
    "a parcel's bytes may reach beyond what was mapped",
    "alloc/share_wire.c",
    " || header->offset_bytes > total_bytes - header->size_bytes) {",
    ") {",
    first="test_share_wire",
)
plant(
    "descriptor_too_many_is_kept",
    "a descriptor more than a parcel says stays open",
    "alloc/share_wire.c",
    "        close(descriptor);\n        fits = false;",
    "        fits = false;",
    first="test_share_wire",
)
plant(
    "importer_overtakes_the_exporter",
    "the importer's stream does not wait for the exporter's work",
    "cuda/cuda_adopt.c",
    "  const CUresult result = driver->StreamWaitEvent(stream->native, event, 0);\n",
    "  (void)event;\n  const CUresult result = CUDA_SUCCESS;\n",
    first="test_cuda_share",
)
plant(
    "block_closed_under_another_storage",
    "the first of two storages of one block closes what the other uses",
    "cuda/cuda_adopt.c",
    "--(*link)->use_count == 0 ? *link : NULL",
    "--(*link)->use_count < 2 ? *link : NULL",
    first="test_cuda_share",
)
plant(
    "pause_takes_what_is_exported",
    "a paused pool gives back memory that another process has mapped",
    "alloc/caching_pause.c",
    "      if (tarn__share_is_exported(block->address, block->size_bytes)) return false;\n",
    "",
    first="test_share",
)
