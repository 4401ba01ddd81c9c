# kernel_mutants.py: planted defects in the planning of kernels; the bodies' own would cost a nvcc.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "runs_begin_at_multiples_of_16",
    "a run that begins within a chunk has no chunk for its end",
    "cuda/grid_plan.c",
    "  const uint32_t before = starts % (chunk * grid->dst_bytes) == 0 ? 0 : chunk - 1;\n",
    "  const uint32_t before = 0;\n  (void)starts;\n",
    first="test_copy_grid",
)
plant(
    "chunks_of_any_run_are_straight",
    "a run that begins within a chunk has its items where it would begin with one",
    "cuda/grid_plan.c",
    "  if (grid->rank == 1 && before == 0) args->straight_count",
    "  if (grid->rank == 1) args->straight_count",
    first="test_kernel_access",
)
plant(
    "tiles_read_wide_from_anywhere",
    "16 bytes at once from rows that begin at multiples of 4",
    "cuda/grid_plan.c",
    "src_starts % 16 == 0 ? 16 :",
    "src_starts % 4 == 0 ? 16 :",
    first="test_copy_grid",
)
plant(
    "short_memory_is_remembered_as_no_kernels",
    "a device that was full once never loads its kernels",
    "cuda/kernels.c",
    "  if (is_final(result)) {\n",
    "  if (is_final(result) || status == TARN_OUT_OF_MEMORY) {\n",
    first="test_copy_grid",
)
