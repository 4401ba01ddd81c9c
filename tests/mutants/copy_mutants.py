# copy_mutants.py: planted defects in copies by the CPU: walks, their parts, their kernels.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "stage_forgets_its_tail",
    "the part of a line that waits for the next run is not kept",
    "tensor/copy_host.c",
    "  memcpy(stage->bytes, stage->bytes + whole, LINE_BYTES);\n",
    "",
    first="test_copy_walk",
)
plant(
    "gather_reads_behind_the_last_run",
    "a vector is loaded that reaches beyond the source's last run",
    "tensor/copy_rows_avx2.c",
    "done + lanes < count",
    "done + lanes <= count",
    first="test_copy_rows",
)
plant(
    "short_way_writes_what_is_read_only",
    "a small packed copy does not ask whether it may write",
    "tensor/copy.c",
    "tarn_storage_host_bytes_mutable(dst->storage)",
    "tarn_storage_host_bytes(dst->storage)",
    first="test_copy",
)
plant(
    "parts_read_from_the_start",
    "each part of a walk reads what the first one reads",
    "tensor/copy_walk.c",
    "  part->src_offset += start * dim->src_stride;\n",
    "",
    first="test_copy_walk",
)
plant(
    "parts_share_an_index",
    "two parts of a walk copy the same indices where they are not equally long",
    "tensor/copy_walk.c",
    "index * each + at_most(index, rest)",
    "index * each + at_most(index, rest - 1)",
    first="test_copy_walk",
)
plant(
    "backward_plane_starts_at_its_end",
    "a plane whose source runs backwards is walked from the wrong end of the destination",
    "tensor/copy_walk.c",
    "  walk->dst_offset += (walk->outer.count - 1) * walk->outer.dst_stride;\n",
    "",
    first="test_copy_walk",
)
plant(
    "columns_reach_behind_their_last_run",
    "a vector of each column is loaded and written that reaches beyond its last run",
    "tensor/copy_rows_avx2.c",
    "done + rows <= row_count",
    "done < row_count",
    first="test_copy_rows",
)
plant(
    "spaced_rows_are_interleaved",
    "rows of a few runs are taken to adjoin one another where they do not",
    "tensor/copy_walk.c",
    "walk->outer.dst_stride == row_bytes && ",
    "",
    first="test_copy_walk",
)
