# umf_mutants.py: planted defects in what plugs tarn into UMF and UMF into tarn.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "umf_frees_what_is_no_block",
    "a free whose size is not the block's takes it all the same",
    "alloc/adapters/umf/umf_provider.c",
    "  if (link != NULL && (size_bytes == 0 || size_bytes == (*link)->size_bytes)) {",
    "  if (link != NULL && (size_bytes == 0 || size_bytes <= (*link)->size_bytes)) {",
    first="test_umf_ops",
)
plant(
    "umf_pool_outlives_its_provider",
    "what nobody freed keeps the pool, and its memory, after UMF's provider has gone",
    "alloc/adapters/umf/umf_pool.c",
    "  const tarn_status status = self->below != NULL ? free_what_is_lent(self) : TARN_OK;",
    "  const tarn_status status =\n"
    "      self->below != NULL && self->stream != NULL ? free_what_is_lent(self) : TARN_OK;",
    first="test_umf_ops",
)
plant(
    "umf_realloc_loses_its_block",
    "a block that cannot be moved is freed",
    "alloc/adapters/umf/umf_pool.c",
    "  if (moved == NULL) return NULL;",
    "  if (moved == NULL) return undo(self, address, TARN_OUT_OF_MEMORY);",
    first="test_umf_ops",
)
plant(
    "umf_opens_another_file",
    "a handle opens whatever has the descriptor's number now",
    "alloc/adapters/umf/umf_share.c",
    "  if (is_same && S_ISREG(file->st_mode) &&",
    "  if ((is_same || true) && S_ISREG(file->st_mode) &&",
    first="test_umf_ops",
)
plant(
    "umf_forgets_the_device",
    "a GPU's memory that comes back through UMF is taken for the CPU's",
    "alloc/adapters/umf/umf_upstream.c",
    "  if (options->device.type != 0 || tarn__umf_provider_device(told, &self->device)) "
    "return TARN_OK;\n",
    "  if (options->device.type != 0) return TARN_OK;\n",
    first="test_umf_cuda",
)
