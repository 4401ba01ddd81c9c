# dlpack_mutants.py: planted defects in the bridge to other libraries.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "byte_offset_ignored",
    "an imported tensor begins at the data, wherever byte_offset says",
    "tensor/dlpack_import.c",
    "__builtin_add_overflow((uintptr_t)dl->data, dl->byte_offset, &origin)",
    "__builtin_add_overflow((uintptr_t)dl->data, 0 * dl->byte_offset, &origin)",
    first="test_dlpack_import",
)
plant(
    "lower_bound_forgotten",
    "negative strides reach below the storage that an import makes",
    "tensor/dlpack_import.c",
    "  layout->offset = -plan->first;\n",
    "  layout->offset = -plan->first;\n  plan->blob.address = (void *)origin;\n",
    first="test_dlpack_import",
)
plant(
    "read_only_flag_dropped",
    "what a producer calls read-only may be written",
    "tensor/dlpack_import.c",
    "plan.blob.flags = storage_flags((managed->flags & TARN_DL_READ_ONLY) != 0, options);",
    "plan.blob.flags = storage_flags(/*is_read_only=*/false, options);",
    first="test_dlpack_import",
)
plant(
    "read_only_by_a_flag_taken_over",
    "an export that is read-only by a flag comes back as the storage that may be written",
    "tensor/dlpack_import.c",
    "  if (is_read_only != tarn_storage_is_read_only(storage)) return false;\n",
    "  if (!is_read_only && tarn_storage_is_read_only(storage)) return false;\n",
    first="test_dlpack_export",
)
plant(
    "deleter_twice",
    "a producer whose tensor is refused is deleted as well, and so by the caller again",
    "tensor/dlpack_import.c",
    "  tarn_status status = read_tensor(&managed->dl_tensor, is_padded, options, tensor, &plan);\n"
    "  if (status != TARN_OK) return status;\n",
    "  tarn_status status = read_tensor(&managed->dl_tensor, is_padded, options, tensor, &plan);\n"
    "  if (status != TARN_OK && managed->deleter != NULL) managed->deleter(managed);\n"
    "  if (status != TARN_OK) return status;\n",
    first="test_dlpack_import",
)
plant(
    "major_mismatch_reads_on",
    "flags and tensor of another major version are looked at before its version",
    "tensor/dlpack_import.c",
    "  if (managed->version.major != TARN_DLPACK_MAJOR) return refuse_version(managed);\n"
    "  if ((managed->flags & ~known) != 0) return refuse_flags(managed->flags);\n",
    "  if ((managed->flags & ~known) != 0) return refuse_flags(managed->flags);\n"
    "  if (managed->version.major != TARN_DLPACK_MAJOR) return refuse_version(managed);\n",
    first="test_dlpack_import",
)
plant(
    "changed_export_taken_over",
    "an export that was changed on its way comes back as the storage it came from",
    "tensor/dlpack_import.c",
    "  if (distance > size_bytes || plan->blob.size_bytes > size_bytes - distance) return false;\n",
    "  if (distance > size_bytes) return false;\n",
    first="test_dlpack_import",
)
plant(
    "copy_not_said",
    "a copy that an export made does not say that it is one",
    "tensor/dlpack_export.c",
    "  plan->tensor = copy;\n  plan->flags |= TARN_DL_IS_COPIED;\n",
    "  plan->tensor = copy;\n",
    first="test_dlpack_export",
)
plant(
    "consumer_not_ordered",
    "an export leaves the consumer's stream unordered",
    "tensor/dlpack_export.c",
    "  if (status == TARN_OK) status = tarn_stream_wait(consumer, fence);\n",
    "  if (consumer == NULL) status = tarn_stream_wait(consumer, fence);\n",
    first="test_dlpack_streams",
)
plant(
    "deleted_before_the_consumer_is_done",
    "a deleter gives memory back while the consumer's stream still reads it",
    "tensor/dlpack_export.c",
    "  const bool is_noted = tarn_storage_note_use(storage, consumer) == TARN_OK ||\n",
    "  const bool is_noted = consumer != NULL ||\n",
    first="test_dlpack_streams",
)
