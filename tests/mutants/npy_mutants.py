# npy_mutants.py: planted defects in reading and writing .npy files.
import planting

TABLE = []
plant = planting.planter(TABLE)

plant(
    "mapping_left_where_wrapping_fails",
    "a file that cannot be wrapped stays mapped for ever",
    "tensor/npy.c",
    "  tarn_storage_release(storage); /* the tensor's now, or nobody's */\n",
    "  if (status == TARN_OK) tarn_storage_release(storage);\n",
    first="test_npy",
)
plant(
    "key_given_twice",
    "of two values for a key the last one counts",
    "tensor/npy_literal.c",
    "  if (*key == KEY_COUNT || (*seen >> *key & 1) != 0) {\n",
    "  if (*key == KEY_COUNT) {\n",
    first="test_npy_header",
)
plant(
    "number_taken_for_a_tuple",
    "(2) counts as a shape, which to Python is a number",
    "tensor/npy_literal.c",
    "  if (literal->rank == 1 && !has_comma) return expected(self,",
    "  if (literal->rank == 0 && has_comma) return expected(self,",
    first="test_npy_header",
)
plant(
    "fortran_order_in_name_alone",
    "a Fortran-ordered tensor is announced as such and written row by row",
    "tensor/npy_save.c",
    "write_elements(&made, is_fortran ? &reversed : tensor, stream);",
    "write_elements(&made, tensor, stream);",
    first="test_npy_save",
)
plant(
    "saved_before_it_is_computed",
    "a tensor is written while the stream still writes it",
    "tensor/npy_save.c",
    "  const tarn_status status = tarn_stream_synchronize(stream);\n",
    "  const tarn_status status = TARN_OK;\n",
    first="test_npy_save",
)
plant(
    "draft_left_behind",
    "where the disk is full, half a file stays beside the old one",
    "tensor/npy_save.c",
    "  if (status != TARN_OK) {\n    unlink(self->name);\n    return status;\n",
    "  if (status != TARN_OK) {\n    return status;\n",
    first="test_npy_save",
)
